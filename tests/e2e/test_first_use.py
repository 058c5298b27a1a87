"""From a token request at a new address to the mail about it."""

from pathlib import Path

from tests.e2e.system import System
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer

SETTINGS = {
    "OAUTHAPPS_TOKEN__REPORT_ADDRESSES": "true",
    "OAUTHAPPS_NOTIFIER__RULES": '{"first-use": {"enabled": true}}',
}
ELSEWHERE = "203.0.113.7"


async def test_a_token_obtained_from_a_new_address_is_told_to_the_owner(
    tmp_path: Path, database_url: str, smtp: SmtpServer
) -> None:
    """With the address in the mail, and in no log."""
    async with System(tmp_path, database_url, smtp_port=smtp.port, settings=SETTINGS) as system:
        bob = await system.create("CI")

        async def is_reported() -> bool:
            answer = await system.api("GET", f"/api/applications/{bob.id}/usage")
            return bool(answer.json()["items"])

        def about_it() -> list[str]:
            subjects = [str(mail.message["Subject"]) for mail in smtp.taken]
            return [one for one in subjects if "new address" in one]

        # At home.
        await eventually(lambda: system.gets_token(bob))
        await eventually(is_reported, 30)
        answer = await system.http.post(
            f"{system.token.url}/oauth2-token",
            data={"grant_type": "client_credentials"},
            auth=(bob.client_id, bob.client_secret),
            headers={"X-Forwarded-For": ELSEWHERE},
        )
        assert answer.status_code == 200
        await eventually(about_it, 30)

        assert about_it() == ["First use from a new address: CI"]
        (mail,) = (one for one in smtp.taken if "new address" in str(one.message["Subject"]))
        assert ELSEWHERE in mail.message.as_string()
        assert ELSEWHERE not in system.logs()
