"""What is bundled travels with its attribution and the full text of its licence."""

from pathlib import Path

import pytest

from backgrad.datasets import list_datasets, loaders

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "NOTICE").exists(), reason="runs beside NOTICE and licences/, from a checkout or an sdist"
)


@pytest.mark.parametrize(
    ("file", "first", "last"),
    [
        ("LICENSE", "Apache License", "limitations under the License."),
        (
            "licences/CC-BY-4.0.txt",
            "Attribution 4.0 International",
            "Creative Commons may be contacted at creativecommons.org.",
        ),
        (
            "licences/CC-BY-SA-3.0.txt",
            "Creative Commons Legal Code",
            "Creative Commons may be contacted at https://creativecommons.org/.",
        ),
    ],
)
def test_licence_texts_are_whole(file, first, last):
    text = (ROOT / file).read_text(encoding="utf-8").strip()
    assert text.startswith(first)
    assert text.endswith(last)
    assert len(text) > 11_000


def test_the_notice_names_every_bundled_file_and_its_licence():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in loaders._SHA256:
        assert name in notice
    bundled = {info.licence for info in list_datasets() if "bundled" in info.source}
    assert all(info.bundled for info in list_datasets() if info.licence in bundled and "bundled" in info.source)
    assert bundled == {"CC-BY-4.0", "CC-BY-SA-3.0"}
    for licence in bundled:
        assert f"licences/{licence}.txt" in notice
    for creator in ("Hopkins", "Reeber", "Forman", "Suermondt", "LeCun", "Cortes", "Burges"):
        assert creator in notice
