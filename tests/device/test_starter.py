from __future__ import annotations

import subprocess
import sys
from collections import Counter

from fedpersona.device import starter
from fedpersona.device.matching import Matcher, normalised_artist, normalised_title

# Every tag there is. A new one is added here, too, so that no misspelt tag parts what belongs together.
GENRES = """
afrobeat, afrobeats, alternative, amapiano, ambient, bachata, baroque, bebop, bhangra, blues, bossa nova, britpop,
cantopop, chanson, choral, city pop, classical, cool jazz, country, cumbia, dance, dancehall, desert blues, disco,
drum and bass, electronic, enka, experimental, fado, filmi, flamenco, folk, forró, funk, gospel, grunge, hard rock,
highlife, hip hop, house, indian classical, indie, j-pop, jazz, jazz fusion, k-pop, krautrock, kroncong, latin, mambo,
mandopop, mbalax, medieval, merengue, metal, mpb, new wave, orchestral, piano, pop, post-punk, progressive rock,
psychedelic, punk, qawwali, r&b, ranchera, raï, reggae, reggaeton, rock, rock and roll, rumba, salsa, samba, schlager,
shidaiqu, shoegaze, singer-songwriter, ska, soft rock, son cubano, soul, soundtrack, swing, synthpop, tango, techno,
trip hop, trot, vocal jazz
"""
MOODS = """
aggressive, anthem, atmospheric, ballad, dark, dreamy, energetic, epic, groove, instrumental, meditative, melancholy,
mellow, nostalgic, party, protest, romantic, summer, upbeat
"""
ORIGINS = """
african, arabic, brazilian, chinese, filipino, french, german, greek, hebrew, hindi, icelandic, indigenous, indonesian,
italian, japanese, khmer, korean, persian, polish, portuguese, russian, spanish, turkish, ukrainian, urdu
"""
DECADES = [f"{year}s" for year in range(1910, 2030, 10)]


def words(text: str) -> set[str]:
    return set(text.strip().replace("\n", " ").split(", "))


TAGS = words(GENRES) | words(MOODS) | words(ORIGINS) | set(DECADES)
CATALOGUE = starter.catalogue()


def test_it_is_a_catalogue_of_tracks_large_enough_to_begin_with():
    assert CATALOGUE.kind == "track"
    assert len(CATALOGUE) >= 600
    assert len(set(CATALOGUE.artists)) >= 250


def test_every_id_is_unique_and_readable():
    assert len(set(CATALOGUE.ids)) == len(CATALOGUE)
    assert CATALOGUE.find("starter:queen-bohemian-rhapsody") is not None
    assert all(item.startswith("starter:") and " " not in item and not item.endswith("-") for item in CATALOGUE.ids)


def test_no_recording_is_there_twice_however_it_is_spelt():
    names = [
        (normalised_artist(artist), normalised_title(title))
        for artist, title in zip(CATALOGUE.artists, CATALOGUE.titles, strict=True)
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_no_artist_is_written_in_two_ways():
    spellings = {(normalised_artist(artist), artist) for artist in CATALOGUE.artists}
    assert len(spellings) == len({key for key, _ in spellings})


def test_every_track_is_found_by_its_own_names():
    matcher = Matcher(CATALOGUE)
    rows = [matcher.row(a, t) for a, t in zip(CATALOGUE.artists, CATALOGUE.titles, strict=True)]
    assert rows == list(range(len(CATALOGUE)))


def test_no_artist_has_more_than_five_tracks():
    assert max(Counter(CATALOGUE.artists).values()) <= 5


def test_every_track_has_three_to_five_tags_of_the_closed_list():
    assert {len(tags) for tags in CATALOGUE.tags} <= {3, 4, 5}
    assert {tag for tags in CATALOGUE.tags for tag in tags} == TAGS
    assert all(len(set(tags)) == len(tags) for tags in CATALOGUE.tags)


def test_no_track_is_of_two_decades_and_few_of_none():
    decades = [sum(tag in DECADES for tag in tags) for tags in CATALOGUE.tags]
    assert set(decades) <= {0, 1}
    assert decades.count(0) < len(CATALOGUE) / 30


def test_names_are_clean():
    for name in (*CATALOGUE.artists, *CATALOGUE.titles):
        assert name
        assert name == " ".join(name.split())
        assert name.isprintable()


def test_it_spans_decades_origins_and_genres():
    counts = Counter(tag for tags in CATALOGUE.tags for tag in tags)
    for decade in DECADES[4:]:
        assert counts[decade] >= 40, decade
    assert max(counts[tag] for tag in words(GENRES)) < 0.25 * len(CATALOGUE)
    assert sum(any(tag in words(ORIGINS) for tag in tags) for tags in CATALOGUE.tags) > 0.25 * len(CATALOGUE)


def test_the_first_that_a_person_sees_are_of_many_kinds():
    first = CATALOGUE.tags[:30]
    assert len(set(CATALOGUE.artists[:30])) == 30
    assert len({tags[0] for tags in first}) >= 12
    assert sum(any(tag in words(ORIGINS) for tag in tags) for tags in first) >= 5


def test_it_is_read_when_first_asked_for_and_once():
    assert starter.catalogue() is CATALOGUE
    code = "import fedpersona.device.starter as s; print(s.catalogue.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"
