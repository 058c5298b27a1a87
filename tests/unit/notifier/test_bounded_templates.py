"""What a template may do is bounded: nothing in it goes on for ever, or takes all memory."""

import pytest
from jinja2 import DictLoader, TemplateError
from jinja2.exceptions import SecurityError

from services.notifier.bounded_templates import bounded, environment_of
from services.notifier.wording import FILTERS

OTHERS = {"big.txt": "x" * 20_000}


def render(source: str, *, name: str = "mail.txt") -> str:
    """Render a template by itself."""
    environment = environment_of(DictLoader({**OTHERS, name: source}), FILTERS, hidden=())
    with bounded():
        return environment.get_template(name).render(a="Ada & Co", numbers=[1, 2, 3])


GROWING = "{% set all = namespace(x='x') %}{% for i in range(60) %}{% set all.x = X %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(9999) %}" + "x" * 2000 + "{% endfor %}",
        "{% for i in range(9999) %}{{ 'x' * 2000 }}{% endfor %}",
        "{% for i in range(9999) %}{% include 'big.txt' %}{% endfor %}",
        "{% for i in range(9999) %}{{ self.part() }}{% endfor %}"
        "{% block part %}" + "x" * 2000 + "{% endblock %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set x %}{% for i in range(99999) %}aaaa{% endfor %}{% endset %}",
        GROWING.replace("X", "all.x ~ all.x"),
        GROWING.replace("X", "all.x + all.x"),
        GROWING.replace("X", "all.x.replace('x', 'xx')"),
        GROWING.replace("X", "[all.x, all.x] | join"),
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'a' | wordwrap(1, wrapstring='x' * 2000000) }}",
        "{{ [1] | batch(1000000000, 'x') | list }}",
        "{{ '%1000000000d' % 5 }}",
        "{{ '{:1000000000}'.format(5) }}",
        "{% set f = '{:1000000000}'.format %}{{ f(5) }}",
        "{% filter center(1000000000) %}a{% endfilter %}",
        "{{ range(99999) | list | length }}{{ range(99999) | list | length }}",
    ],
)
def test_what_takes_too_much_is_refused(source: str) -> None:
    """Each of them would keep the notifier from its work, or take all its memory."""
    with pytest.raises(SecurityError):
        render(source)


@pytest.mark.parametrize(
    "source",
    ["{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{{ '%999999999d' | format(5) }}"],
)
def test_what_cannot_be_counted_is_no_template(source: str) -> None:
    """It does not compile."""
    with pytest.raises(TemplateError):
        render(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ a }}", "Ada &amp; Co"),
        ("{{ a ~ '!' }}", "Ada &amp; Co!"),
        ("{{ a | upper | replace('ADA', 'Eve') }}", "EVE &amp; CO".replace("EVE", "Eve")),
        ("{% for n in numbers %}{{ n }}{{ ', ' if not loop.last }}{% endfor %}", "1, 2, 3"),
        ("{% for n in numbers if n > 1 %}{{ loop.index }}{% else %}-{% endfor %}", "12"),
        ("{{ numbers | join(' ') }} {{ 3 * 4 + 7 % 4 }}", "1 2 3 15"),
        ("{% macro cell(x) %}<td>{{ x }}</td>{% endmacro %}{{ cell(a) }}", "<td>Ada &amp; Co</td>"),
        ("{% set x %}<b>{{ a }}</b>{% endset %}{{ x }}", "<b>Ada &amp; Co</b>"),
        ("{% for n in range(99) %}{% for m in range(9) %}{% endfor %}{% endfor %}.", "."),
    ],
)
def test_what_a_mail_needs_works_as_ever(source: str, text: str) -> None:
    """Counting changes nothing of what is said, nor of what is escaped."""
    assert render(source, name="mail.html") == text


def test_one_part_of_a_mail_takes_nothing_from_the_next() -> None:
    """The count begins anew with each."""
    source = "{% for i in range(999) %}{{ a }}{% endfor %}"

    assert [len(render(source)) for _ in range(200)] == [8 * 999] * 200
