"""All that can be missing or wrong at the start, at once: each says why, and all recover."""

import shutil
from functools import partial
from pathlib import Path
from typing import Self

from tests.e2e.system import Service, System
from tests.support.command_line import run_command
from tests.support.eventually import eventually
from tests.support.files import put
from tests.support.smtp_server import SmtpServer


class Begun(System):
    """Services that were started, and are not ready yet."""

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self.http.aclose)
        for service in (self.registry, self.token, self.notifier):
            self._stack.push_async_callback(service.kill)
            await service.start()
        return self


async def test_services_wait_for_what_they_need_and_say_what_it_is(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer
) -> None:
    """Files that are mounted late, a wrong password for RabbitMQ; then everything is put right."""
    away, database, bus = tmp_path / "away", tmp_path / "database", tmp_path / "bus"
    shutil.move(tmp_path / "service_credential", away)
    put(bus, amqp_url.replace(":guest@", ":hunter2@"))
    system = Begun(
        tmp_path,
        database_url,
        smtp_port=smtp.port,
        settings={
            "OAUTHAPPS_REGISTRY__DATABASE__URL_FILE": str(database),
            "OAUTHAPPS_NOTIFIER__DATABASE__URL_FILE": str(database),
            "OAUTHAPPS_BUS__URL_FILE": str(bus),
        },
    )
    services = (system.registry, system.token, system.notifier)
    for service in services:
        service.environment = {
            name: value
            for name, value in service.environment.items()
            if not name.endswith("DATABASE__URL")
        }
    async with system:
        for service, check, words in (
            (system.registry, "database", f"secret file {database}: cannot be read"),
            (system.registry, "secrets", "cannot be read"),
            (system.token, "bus", "refuses user 'guest': wrong password"),
            (system.token, "subscription", f"service credential {tmp_path}/service_credential: no"),
            (system.notifier, "database", f"secret file {database}: cannot be read"),
        ):
            await eventually(partial(says, service, check, words), 30)
        status = await run_command(("status",), system.environment)
        place = f"127.0.0.1:{system.registry.port}"
        assert f"down: registry {place}: database: secret file {database}" in status.stdout

        shutil.move(away, tmp_path / "service_credential")
        put(database, database_url)
        put(bus, amqp_url)
        for service in services:
            await service.ready()
            await eventually(partial(all_is_well, service), 30)
        application = await system.create_by_api("late")
        await eventually(lambda: system.gets_token(application))
        await eventually(lambda: smtp.taken)
    logs = system.logs()
    assert "Traceback" not in logs
    assert "hunter2" not in logs
    for said in ("database cannot be used", "database can be used again"):
        assert logs.count(said) == 2, said


async def says(service: Service, check: str, words: str) -> bool:
    """Tell whether a line of `/readyz` has these words."""
    return words in (await service.readiness())[1].get(check, "")


async def all_is_well(service: Service) -> bool:
    """Tell whether no line of `/readyz` complains."""
    return set((await service.readiness())[1].values()) == {"ok"}
