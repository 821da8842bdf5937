"""axe-core on whole pages in a browser, at the width of a desk and of a phone.

It needs Chromium and the path of axe-core's `axe.min.js` (npm's package `axe-core`) in the environment variable AXE.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from backgrad.report import render
from tests.report.samples import SAMPLES, make

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SERIOUS = {"serious", "critical"}
# What axe.run resolves to goes into the page, which the browser prints.
ASK = """
<script>axe.run(document, {}).then(found => {
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify({
    passes: found.passes.length, violations: found.violations.map(one => [one.id, one.impact, one.nodes.length]),
  });
  document.body.appendChild(told);
});</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
@pytest.mark.skipif("AXE" not in os.environ, reason="AXE does not name a copy of axe.min.js")
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("name", SAMPLES)
def test_axe_finds_no_serious_violation(name, width, tmp_path):
    axe = Path(os.environ["AXE"]).read_text(encoding="utf-8").replace("</script", "<\\/script")
    page = render(make(name))
    # The page forbids scripts, and hides what is folded.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page, flags=re.IGNORECASE)
    page = page.replace("<details", "<details open")
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"<script>{axe}</script>{ASK}"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--virtual-time-budget=30000", f"--window-size={width},900", "--dump-dom"]
    printed = subprocess.run(
        [str(BROWSER), *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    told = re.findall(r'<pre id="told">(.*?)</pre>', printed, re.DOTALL)
    found = json.loads(html.unescape(told[-1]))
    assert found["passes"] > 20
    assert [one for one in found["violations"] if one[1] in SERIOUS] == []
