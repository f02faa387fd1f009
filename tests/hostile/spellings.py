"""Spellings of what a guard must find: secrets and phrases as people, models and attackers write
them, by rules.

A spelling is caught where nothing that is left can be read as the secret. Knows no guard.
"""

from __future__ import annotations

import html
import itertools
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

# What can be caught in no way, each with its reason; none is known.
NOT_CAUGHT: dict[str, str] = {}


@dataclass(frozen=True)
class Spelling:
    kind: str
    text: str
    parts: tuple[str, ...]
    """None of these may be read any more."""

    def can_be_read_in(self, text: str) -> bool:
        seen = plain(text)
        return any(part in seen for part in self.parts)


def plain(text: str) -> str:
    """The letters and digits that a reader sees, in their simplest form."""
    text = unicodedata.normalize("NFKD", html.unescape(text))
    seen = []
    for letter in text:
        digit = unicodedata.digit(letter, None)
        if digit is not None:
            seen.append(str(digit))
        elif letter.isalnum():
            seen.append(letter.lower())
    return "".join(seen)


def luhn(dice: Random, length: int, prefix: str) -> str:
    digits = prefix + "".join(dice.choices(string.digits, k=length - len(prefix) - 1))
    total = sum(
        sum(divmod(int(d) * (2 if at % 2 == 0 else 1), 10)) for at, d in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


SEPARATORS = {
    "none": "",
    "space": " ",
    "two spaces": "  ",
    "no-break space": "\u00a0",
    "thin space": "\u2009",
    "narrow no-break space": "\u202f",
    "ideographic space": "\u3000",
    "tab": "\t",
    "line break": "\n",
    "dot": ".",
    "slash": "/",
    "comma": ",",
    "dash": "-",
    "hyphen": "\u2010",
    "no-break hyphen": "\u2011",
    "en dash": "\u2013",
    "em dash": "\u2014",
    "minus": "\u2212",
    "spaced dash": " - ",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "soft hyphen": "\u00ad",
    "entity": "&nbsp;",
    "numbered entity": "&#160;",
    "bold": "**",
}
DIGITS = {
    "ascii": 0x30,
    "fullwidth": 0xFF10,
    "arabic": 0x0660,
    "persian": 0x06F0,
    "devanagari": 0x0966,
    "bold": 0x1D7CE,
    "monospace": 0x1D7F6,
}
AROUND = {
    "alone": "{}",
    "sentence": "My card is {}, thanks.",
    "after x": "x{}",
    "after 1-": "1-{}",
    "bold": "**{}**",
    "code": "`{}`",
}
GROUPS = {"fours": 4, "pairs": 2}


def cards(dice: Random) -> Iterator[Spelling]:
    # Each separator with each grouping, each script and each surrounding with the plain ones.
    rules = set(itertools.product(SEPARATORS, GROUPS, ["ascii"], ["alone", "sentence"]))
    rules |= set(itertools.product(["none", "space", "dash"], ["fours"], DIGITS, AROUND))
    rules |= set(itertools.product(SEPARATORS, ["fours"], ["fullwidth"], ["sentence"]))
    for separator, groups, script, around in sorted(rules):
        number = luhn(dice, 16, dice.choice(["4", "51", "55", "4000", "2221"]))
        written = "".join(chr(DIGITS[script] + int(digit)) for digit in number)
        size = GROUPS[groups]
        pieces = [written[at : at + size] for at in range(0, len(written), size)]
        text = AROUND[around].format(SEPARATORS[separator].join(pieces))
        kind = f"card, {separator}, {groups}, {script}, {around}"
        yield Spelling(kind, text, (number[:8], number[-8:]))


def word(dice: Random, length: int = 9) -> str:
    # Letters that look like no others, and stand in no placeholder.
    return "".join(dice.choices("qvwxzkj", k=length))


EMAILS = {
    "usual": "{a}@{b}.com",
    "zero-width after": "{a}@\u200b{b}.com",
    "zero-width before": "{a}\u200b@{b}.com",
    "zero-width inside": "{a[0]}\u200d{tail}@{b}.com",
    "soft hyphen": "{a}@{b}\u00ad.com",
    "fullwidth at": "{a}\uff20{b}.com",
    "small at": "{a}\ufe6b{b}.com",
    "spaced at": "{a} @ {b}.com",
    "at in brackets": "{a}[at]{b}.com",
    "spaced brackets": "{a} [at] {b}.com",
    "at in parentheses": "{a}(at){b}.com",
    "at and dot": "{a} [at] {b} [dot] com",
    "entity": "{a}&#64;{b}.com",
    "hexadecimal entity": "{a}&#x40;{b}.com",
    "named entity": "{a}&commat;{b}.com",
    "fullwidth dot": "{a}@{b}\uff0ecom",
    "cyrillic": "иван.{a}@{b}.com",
    "greek": "νίκος.{a}@{b}.com",
    "han": "李明{a}@{b}.com",
    "decomposed": "{a}e\u0301{a}@{b}.com",
    "long": "{a}{long}@{b}.com",
    "bold": "**{a}**@{b}.com",
    "angle brackets": "<{a}@{b}.com>",
    "mailto": "mailto:{a}@{b}.com",
}


def emails(dice: Random) -> Iterator[Spelling]:
    for kind, form in EMAILS.items():
        for around in ("{}", "Write to {} today."):
            a, b = word(dice), word(dice)
            text = form.format(a=a, b=b, tail=a[1:], long=".part" * 14)
            yield Spelling(f"e-mail, {kind}, {around}", around.format(text), (a, b))


def iban(dice: Random) -> str:
    account = "".join(dice.choices(string.digits, k=18))
    # ISO 13616: the country's letters are numbers, 00 in the place of the check digits.
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02}{account}"


SPACES = ["", " ", "\u00a0", "\u202f", "\u2009", "&nbsp;", "\u200b"]


def ibans(dice: Random) -> Iterator[Spelling]:
    for separator in SPACES:
        number = iban(dice)
        text = separator.join(number[at : at + 4] for at in range(0, len(number), 4))
        yield Spelling(f"IBAN, {separator!r}", f"Pay to {text} now", (number[4:14], number[-10:]))


def phones(dice: Random) -> Iterator[Spelling]:
    for separator in [*SPACES[1:6], "-", ".", "\u2011"]:
        groups = ["".join(dice.choices("23456789", k=size)) for size in (2, 3, 4)]
        text = separator.join(["+49", *groups])
        yield Spelling(f"phone, {separator!r}", f"Call {text} please", ("".join(groups[1:]),))


def secrets(dice: Random) -> Iterator[Spelling]:
    letters = string.ascii_letters + string.digits
    for kind, prefix, alphabet, length in (
        ("AWS key", "AKIA", string.ascii_uppercase + "234567", 16),
        ("AWS session key", "ASIA", string.ascii_uppercase + "234567", 16),
        ("Google key", "AIza", letters, 35),
        ("AWS secret", "aws_secret_access_key = ", letters + "+/", 40),
        ("GitHub token", "ghp_", letters, 36),
        ("OpenAI key", "sk-proj-", letters, 48),
    ):
        for around in ("{}", 'key="{}"', "`{}`", "\u201c{}\u201d", "it is {}\u200b."):
            secret = "".join(dice.choices(alphabet, k=length))
            text = around.format(prefix + secret)
            yield Spelling(f"{kind}, {around}", text, (plain(secret),))


def all_secrets(dice: Random) -> list[Spelling]:
    kinds = (cards, emails, ibans, phones, secrets)
    made = [spelling for kind in kinds for spelling in kind(dice)]
    return [spelling for spelling in made if spelling.kind not in NOT_CAUGHT]


BLOCKED = {
    "usual": "{0} {1}",
    "capitals": "{0} {1}",
    "two spaces": "{0}  {1}",
    "line break": "{0}\n{1}",
    "no-break space": "{0}\u00a0{1}",
    "hyphen": "{0}-{1}",
    "en dash": "{0}\u2013{1}",
    "underscore": "{0}_{1}",
    "bold": "**{0}** {1}",
    "italics": "{0} _{1}_",
    "bold within": "fo**rbid**den {1}",
    "code": "`{0}` `{1}`",
    "zero-width": "forb\u200bidden {1}",
    "soft hyphen": "forbid\u00adden {1}",
    "strokes": "f\u0336o\u0336r\u0336b\u0336i\u0336d\u0336d\u0336e\u0336n\u0336 {1}",
    "accents": "fo\u0301rbidden {1}",
    "fullwidth": "ｆｏｒｂｉｄｄｅｎ {1}",
    "mathematical": "𝐟𝐨𝐫𝐛𝐢𝐝𝐝𝐞𝐧 {1}",
    "entity": "{0}&nbsp;{1}",
}


def phrases(first: str, second: str) -> dict[str, str]:
    return {
        name: (form.format(first, second).upper() if name == "capitals" else form.format(first, second))
        for name, form in BLOCKED.items()
    }


def chunkings(text: str, dice: Random, count: int) -> Iterator[list[str]]:
    """A character a chunk, the whole, and others that the dice choose."""
    yield list(text)
    for _ in range(count):
        match dice.randrange(3):
            case 0:
                size = dice.randrange(2, 7)
                yield [text[at : at + size] for at in range(0, len(text), size)]
            case 1:
                cut = dice.randrange(1, max(2, len(text)))
                yield [piece for piece in (text[:cut], text[cut:]) if piece]
            case _:
                yield [text]
