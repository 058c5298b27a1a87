"""How address headers are written (RFC 5322, RFC 2047).

Python 3.11 loses the quotes of a display name that is too long for one line: each comma in it then
begins another address, of whatever the name says. So address headers are folded here.
"""

import re
from email.header import Header
from email.headerregistry import Address, HeaderRegistry
from email.policy import EmailPolicy

LINE_LIMIT = 78
# Beyond it a name is written as encoded words, which can be folded anywhere.
QUOTED_LIMIT = 60
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+( [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
_TO_ESCAPE = re.compile(r'["\\]')


class WirePolicy(EmailPolicy):
    """Python's policy for SMTP, but for address headers."""

    def fold(self, name: str, value: str) -> str:
        """Return a header with its line ends, as text."""
        addresses = getattr(value, "addresses", None)
        if addresses is None:
            text = str(value)
            if _is_plain(name, text):
                # As it stands: taking it apart to put it together again takes a third of a mail.
                return f"{name}: {text}\r\n"
            folded: str = super().fold(name, value)
            return folded
        return f"{name}: " + ",\r\n ".join(map(mailbox, addresses)) + "\r\n"

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return a header with its line ends, as it goes over the wire."""
        return self.fold(name, value).encode("ascii", "surrogateescape")


class _KeptRegistry(HeaderRegistry):
    """Makes the class of a header once, and not for every header of every mail."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        kept = self._kept.get(name)
        if kept is None:
            kept = self._kept[name] = super().__getitem__(name)
        return kept


WIRE = WirePolicy(linesep="\r\n", header_factory=_KeptRegistry())


def _is_plain(name: str, text: str) -> bool:
    """Tell whether a header fits on one line and says what it says without being encoded."""
    return (
        len(name) + len(": ") + len(text) <= LINE_LIMIT
        and text.isascii()
        and text.isprintable()
        and "=?" not in text
    )


def mailbox(address: Address) -> str:
    """Return a name and an address, folded to lines of at most 78 characters where that can be."""
    if not address.display_name:
        return address.addr_spec
    name = phrase(address.display_name)
    place = f"<{address.addr_spec}>"
    # Eight: `Reply-To`, the longest name of a header that holds one.
    last = len(name) - (name.rfind("\n") + 1) + len("Reply-To: ")
    return f"{name} {place}" if last + len(place) < LINE_LIMIT else f"{name}\r\n {place}"


def phrase(name: str) -> str:
    """Return a display name as it is if that is plain, quoted if short, else as encoded words."""
    # What looks like an encoded word would be decoded by the reader's program, quoted or not.
    if name.isascii() and len(name) <= QUOTED_LIMIT and "=?" not in name:
        if _ATOMS.fullmatch(name):
            return name
        quoted = _TO_ESCAPE.sub(r"\\\g<0>", name)
        if len(quoted) <= QUOTED_LIMIT:
            return f'"{quoted}"'
    return Header(name, "utf-8", header_name="Reply-To").encode(linesep="\r\n")
