"""Where things are kept on this machine."""

import pytest

from backgrad import folders


@pytest.mark.parametrize(
    ("platform", "variables", "end"),
    [
        ("linux", {"XDG_CACHE_HOME": "/somewhere"}, "/somewhere/backgrad"),
        ("linux", {"HOME": "/somewhere"}, "/somewhere/.cache/backgrad"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Caches/backgrad"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/backgrad"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_it(platform, variables, end, monkeypatch):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(folders.sys, "platform", platform)
    assert folders.cache_folder().as_posix() == end
