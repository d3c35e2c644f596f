"""Users, digests and tokens."""

import os

from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.demo.identity import TOKEN_LIFETIME_S, Tokens, bearer, digest, matches, seed_users, users_csv

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(NAMES, st.floats(0, 4e9))
def test_a_token_says_who_it_was_issued_to(user, now_s):
    """Any replica that shares the key reads the user back from a token, whatever the name."""
    token = Tokens(b"key").issue(user, now_s=now_s)
    assert Tokens(b"key").user_of(token, now_s=now_s) == user


@given(NAMES)
def test_a_token_of_another_key_is_worth_nothing(user):
    """A token signed with another key is refused."""
    assert Tokens(b"key").user_of(Tokens(b"other").issue(user)) is None


def test_a_token_expires():
    """A token is good until its last second and not after."""
    tokens = Tokens(b"key")
    token = tokens.issue("ann", now_s=1000)
    assert tokens.user_of(token, now_s=1000 + TOKEN_LIFETIME_S) == "ann"
    assert tokens.user_of(token, now_s=1001 + TOKEN_LIFETIME_S) is None


@given(st.text(max_size=80))
def test_any_text_may_be_offered_as_a_token(text):
    """Nonsense is refused and never an exception, lone surrogates from a raw header included."""
    assert Tokens(b"key").user_of(text) is None
    assert Tokens(b"key").user_of(text + "\udc80") is None


@given(st.data())
def test_changing_any_character_of_a_token_voids_it(data):
    """No single character of user, expiry or signature can be replaced unnoticed."""
    token = Tokens(b"key").issue("user01", now_s=1000)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_.").filter(lambda character: character != token[place]))
    forged = token[:place] + other + token[place + 1 :]
    assert Tokens(b"key").user_of(forged, now_s=1000) is None


def test_passwords_match_their_own_digest_only():
    """A digest matches its password with its salt, and nothing else."""
    salt = os.urandom(8)
    stored = digest("pass01", salt)
    assert matches("pass01", salt, stored)
    assert not matches("pass02", salt, stored)
    assert not matches("pass01", os.urandom(8), stored)


def test_the_data_file_holds_the_seed_users():
    """The CSV has the two columns that the load reads and one line a user."""
    header, *lines = users_csv().splitlines()
    assert header == "user,password"
    assert [tuple(line.split(",")) for line in lines] == seed_users()


def test_bearer_tokens_are_found_whatever_the_case_of_the_scheme():
    """The scheme is case-insensitive, and another scheme or none is no token."""
    assert bearer("bearer abc") == bearer("Bearer abc") == "abc"
    assert bearer("Basic abc") is bearer("Bearer ") is bearer(None) is None
