"""Which row of a catalogue a track of someone's history is: by id where both have one, else by artist and title.

Names are compared by their letters and digits only, without case, accents, guests and remaster notes. What is
another recording stays apart: a live version, a remix, an acoustic take, a re-recording or a cover is never taken
for the song itself, and does not fall back to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError

__all__ = ["Matched", "Matcher", "name_keys", "normalised_artist", "normalised_title"]


class _Table(dict[int, int | str | None]):
    """A table for ``str.translate`` that decides about a character when it first meets it."""

    def __init__(self, fixed: dict[str, str | None], drop: str) -> None:
        super().__init__({ord(char): to for char, to in fixed.items()})
        self._drop = drop

    def __missing__(self, code: int) -> int | None:
        found = None if unicodedata.category(chr(code))[0] in self._drop else code
        self[code] = found
        return found


# Accents of Latin, Greek and Cyrillic; points of Hebrew and Arabic, which most people leave out. Marks of other
# scripts are vowels or voicing: without them other words would be left.
_ACCENTS = dict.fromkeys(
    [*range(0x300, 0x370), *range(0x591, 0x5BE), *range(0x5BF, 0x5C8), 0x640, *range(0x64B, 0x656), 0x670]
)
_LETTERS = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ`´′ʻ＇", "'"),
        **dict.fromkeys("“”„«»″", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("【〔「『〈《", "("),
        **dict.fromkeys("】〕」』〉》", ")"),
        **dict.fromkeys("™®©℗", None),
        **{"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"},
    }
)
# What is left of a name: letters, digits and marks; no space, punctuation, symbol or control character.
_LETTERS_ONLY = _Table({"\ufe0e": None, "\ufe0f": None}, drop="PSZC")

_AND = re.compile(r"(?<=\w)\s*\+\s*(?=\w)|&")
_N = re.compile(r"(?<=[\w'])[\s-]+'?n'?[\s-]+(?=[\w'])")  # Guns N' Roses, rock 'n' roll
_GUESTS = re.compile(r"\s(?:(?<!\d\s)ft\.?|feat\.?|featuring)\s([^()\[\]]*?)(?=\s[-(\[]|$)")
_BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|\{([^{}]*)\}")
_OPEN_GUESTS = re.compile(r"\s[(\[](?:ft\.?|feat\.?|featuring|with)\s([^()\[\]]*)$")
_GUEST_NOTE = re.compile(r"\s*(?:ft\.?|feat\.?|featuring|with|w/)\s.+")
# A note with one of these words speaks of another recording, whatever else it says.
_OTHER_RECORDING = re.compile(
    r"\b(?:live|re-?mix|rmx|acoustic|unplugged|demo|instrumental|karaoke|cover|session|reprise|rehearsal|dub|medley"
    r"|orchestral?|strings|choir|piano|a\s?cappella|acapella|sped|slowed|nightcore|re-?recorded)\b"
)
_OTHER_CUT = re.compile(r"\b(?:mix|edit|version)\b")  # after guests: whose it is, nobody can tell
_SAME_RECORDING = re.compile(
    r"""\s*(?:
    (?:\d{4}\s+)? (?:24[-\s]?bit\s+)? (?:new(?:ly)?\s+)? (?:digital(?:ly)?\s+)?
      re-?master(?:ed|i[sz](?:e|ee|ado|ada))? (?:\s+(?:version|edition|mix|stereo|mono|in|from|\d{4}))*
    | (?:\d{4}\s+)? (?:original\s+)? (?:mono|stereo) (?:\s+(?:version|mix|edit|master|\d{4}))*
    | \d{4}\s+mix
    | (?:radio|single|album|lp|original|main|video|clean|explicit|standard)\s+(?:edit|version|mix)
    | 7(?:"|''|[\s-]?inch)\s+(?:edit|version|mix)
    | explicit | clean | single | bonus(?:\s+track)? | official(?:\s+(?:music|lyrics?))?\s+(?:video|audio)
    | (?:super\s+|the\s+)?(?:deluxe|expanded|special|legacy|collector'?s)(?:\s+(?:edition|version|album))?
    | \d+(?:st|nd|rd|th)\s+anniversary(?:\s+(?:super\s+)?(?:deluxe|expanded|edition|version|remaster(?:ed)?|mix))*
    | anniversary\s+(?:edition|version)
    | (?:music\s+)?from\s+(?:".*|.*\b(?:soundtrack|motion\s+picture|movie|film)\b.*)
    | original\s+(?:motion\s+picture\s+)?soundtrack
    )\s*""",
    re.VERBOSE,
)
_IN_WORD_SIGN = re.compile(r"(?<=[a-z])!(?=[a-z])")  # P!nk
_PARTS = re.compile(r"\s*[/;,]\s*")
_FIRST_OF = re.compile(r"\s*;\s*")
_FIRST_OF_LIST = re.compile(r"\s*[,;]\s*")


def _folded(text: str) -> str:
    """Return the text without case, accents and variants of the same sign; Latin only where it was Latin."""
    if text.isascii():
        return text.lower()
    given = text
    text = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold().translate(_ACCENTS)
    # Once more for what folding made (a dotted capital I has an accent below); then Hangul and kana as one sign each.
    text = unicodedata.normalize("NFKD", text).translate(_ACCENTS).translate(_LETTERS)
    return unicodedata.normalize("NFC", text if text.strip() else given)  # a lone accent is a name, too


def _letters(text: str, whole: str) -> str:
    """Return letters and digits of ``text``; where it has none, what is printed of ``whole``."""
    if "&" in text or "+" in text:
        text = _AND.sub(" and ", text)
    if "n" in text:
        text = _N.sub(" and ", text)
    left = text.translate(_LETTERS_ONLY) or "".join(whole.split())
    # Two signs that something between them kept apart may be one now.
    return left if left.isascii() else unicodedata.normalize("NFC", left)


def _without_guests(text: str) -> str:
    if "f" not in text and "with" not in text:
        return text
    return _OPEN_GUESTS.sub(_no_guests, _GUESTS.sub(_no_guests, text))


def _no_guests(found: re.Match[str]) -> str:
    return "" if _only_guests(found[1]) else found[0]


def _only_guests(names: str) -> bool:
    return not _OTHER_RECORDING.search(names) and not _OTHER_CUT.search(names)


def normalised_artist(name: str) -> str:
    """Return what two spellings of one artist have in common: letters and digits, without guests and "the".

    ``The Beatles`` and ``Beatles, The`` give ``beatles``; ``Simon & Garfunkel`` gives ``simonandgarfunkel``.
    Any text gives something: a name of signs only (``!!!``) gives those signs. Applying it twice changes nothing.
    """
    whole = _folded(name).strip()
    text = _kept(_without_guests(_BRACKETS.sub(_guests_removed, whole)).strip(), whole)
    if text.endswith(", the") and text[:-5].translate(_LETTERS_ONLY):
        text = text[:-5]
    elif text.startswith("the ") and text[4:].translate(_LETTERS_ONLY):
        text = text[4:]
    if "$" in text and any(char.isalpha() for char in text):
        text = text.replace("$", "s")  # Ke$ha, A$AP
    if "!" in text:
        text = _IN_WORD_SIGN.sub("i", text)
    return _letters(text, whole)


def _guests_removed(found: re.Match[str]) -> str:
    content = found[1] or found[2] or found[3] or ""
    return " " if _GUEST_NOTE.fullmatch(content) else found[0]


def normalised_title(title: str) -> str:
    """Return what two spellings of one recording's title have in common: letters and digits, without notes.

    Notes are what other editions of the same recording carry: guests, remasters, mono, radio edits, anniversaries.

    ``Song (feat. B) - Remastered 2011`` gives ``song``; ``Song - Live`` gives ``songlive``. Any text gives
    something: ``()`` gives ``()``. Applying it twice changes nothing.
    """
    whole = _folded(title).strip()
    text = whole
    if "(" in text or "[" in text or "{" in text:
        text = _kept(_BRACKETS.sub(_notes_removed, text), text)
    text = _kept(_without_guests(text), text)
    while " - " in text:
        head, _, last = text.rpartition(" - ")
        left = _without_notes(last)
        if left == last or not head.translate(_LETTERS_ONLY):
            break
        text = f"{head} {left}".strip()
    return _letters(text, whole)


def _kept(text: str, before: str) -> str:
    """Return the shortened text, or the one before where nothing would be left: a title that is a note itself."""
    return text if text.translate(_LETTERS_ONLY) else before


def _notes_removed(found: re.Match[str]) -> str:
    return f" ({_without_notes(found[1] or found[2] or found[3] or '')}) "


def _without_notes(segment: str) -> str:
    """Return a bracket's or dash's content without what says the same recording: ``live / 2011 remaster`` is live."""
    if _says_nothing(segment):
        return ""
    parts = _PARTS.split(segment)
    left = [part for part in parts if not _says_nothing(part)]
    return segment if len(left) == len(parts) else " / ".join(left)


def _says_nothing(note: str) -> bool:
    """Tell whether a note leaves the recording the same: guests, or what another edition says."""
    if _GUEST_NOTE.fullmatch(note):
        return _only_guests(note)
    return bool(_SAME_RECORDING.fullmatch(note)) and not _OTHER_RECORDING.search(note)


_keys: WeakKeyDictionary[Catalogue, tuple[tuple[str, str], ...]] = WeakKeyDictionary()


def name_keys(catalogue: Catalogue) -> tuple[tuple[str, str], ...]:
    """Return each item's normalised artist and title; of a catalogue of artists the artist and nothing.

    Worked out once for a catalogue: normalising 50,000 names takes a noticeable moment.
    """
    if catalogue not in _keys:
        _keys[catalogue] = _name_keys(catalogue)
    return _keys[catalogue]


def _name_keys(catalogue: Catalogue) -> tuple[tuple[str, str], ...]:
    if catalogue.kind == "artist":
        return tuple((normalised_artist(name), "") for name in catalogue.titles)
    normal = {artist: normalised_artist(artist) for artist in set(catalogue.artists)}
    return tuple(
        (normal[artist], normalised_title(title))
        for artist, title in zip(catalogue.artists, catalogue.titles, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Matched:
    """What a catalogue knows of a history. Its ``repr`` shows the shares only."""

    rows: NDArray[np.int32]
    """The catalogue row of each track, -1 where the catalogue has none, shape (tracks,)."""
    share_of_tracks: float
    """Share of the tracks that have a row, from 0 to 1; 0 of none."""
    share_of_plays: float
    """Share of the plays whose track has a row, from 0 to 1; 0 of none."""

    def __repr__(self) -> str:
        return f"Matched({self.share_of_tracks:.1%} of {self.rows.size:,} tracks, {self.share_of_plays:.1%} of plays)"


class Matcher:
    """Finds tracks in one catalogue. The index is built once, in memory, and holds nothing about anyone.

    Of two rows with the same name or link the first counts. In a catalogue of artists, a track's row is its artist's.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._find = catalogue.find
        self._of_artists = catalogue.kind == "artist"
        self._links: dict[str, int] = {}
        self._names: dict[tuple[str, str], int] = {}
        self._artists: dict[str, int] = {}
        if self._of_artists:
            for row, (name, _) in enumerate(name_keys(catalogue)):
                self._artists.setdefault(name, row)
        else:
            for row, links in enumerate(catalogue.links):
                for link in links:
                    self._links.setdefault(_link(link), row)
            self._index_names(catalogue)

    def _index_names(self, catalogue: Catalogue) -> None:
        several = []
        names = self._names
        for row, (artist, key) in enumerate(zip(catalogue.artists, name_keys(catalogue), strict=True)):
            names.setdefault(key, row)
            if "," in artist or ";" in artist:
                several.append(((_first_artist(artist), key[1]), row))
        for key, row in several:  # after all others: a whole name comes before a part of one
            names.setdefault(key, row)

    def row(self, artist: str, title: str, ids: Sequence[str] = ()) -> int | None:
        """Return the catalogue row of a track, None where the catalogue does not have it.

        Args:
            artist: as the history has it.
            title: as the history has it.
            ids: ``mbid:…`` and ``spotify:track:…`` where the history says; the first that is known counts.
        """
        if self._of_artists:
            return self._artist_row(artist)
        for name in ids:
            link = _link(name)
            row = self._links.get(link, self._find(link))
            if row is not None:
                return row
        key = normalised_title(title)
        if not key:
            return None
        row = self._names.get((normalised_artist(artist), key))
        if row is None and ("," in artist or ";" in artist):
            row = self._names.get((_first_artist(artist), key))
        return row

    def _artist_row(self, artist: str) -> int | None:
        if not artist.strip():
            return None
        row = self._artists.get(normalised_artist(artist))
        if row is None and ";" in artist:
            return self._artists.get(normalised_artist(_FIRST_OF.split(artist.strip(" ;"))[0]))
        if row is None and "," in artist:
            # "Earth, Wind & Fire" is not Earth: a list of artists is one of which each is known.
            rows = [self._artists.get(normalised_artist(name)) for name in _FIRST_OF_LIST.split(artist.strip(" ,"))]
            return rows[0] if None not in rows else None
        return row

    def match(self, tracks: Iterable[tuple[str, str, Sequence[str]]], plays: ArrayLike | None = None) -> Matched:
        """Find many tracks.

        Args:
            tracks: artist, title and ids of each, as :meth:`row` takes them.
            plays: how often each was played, shape (tracks,); None counts each once.

        Raises:
            DataError: there is not one number of plays a track.
        """
        find = self.row
        found = [-1 if (row := find(artist, title, ids)) is None else row for artist, title, ids in tracks]
        rows = np.array(found, np.int32)
        counts = np.ones(rows.size) if plays is None else np.asarray(plays, np.float64)
        if counts.shape != rows.shape:
            raise DataError(f"{rows.size:,} tracks but plays of shape {counts.shape}", place="plays")
        known = rows >= 0
        total = float(counts.sum())
        return Matched(
            rows, float(known.mean()) if rows.size else 0.0, float(counts[known].sum() / total) if total else 0.0
        )


def _first_artist(names: str) -> str:
    return normalised_artist(_FIRST_OF_LIST.split(names.strip(" ,;"))[0])


def _link(name: str) -> str:
    """Return a link as it is compared: the letters of a MusicBrainz id have no case."""
    return name.lower() if name[:5].lower() == "mbid:" else name
