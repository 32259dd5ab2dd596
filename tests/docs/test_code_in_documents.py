"""The code in README and docs runs as it is printed there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .language_models import models_of_a_user

ROOT = Path(__file__).parents[2]
OWN_MODELS = ("docs/how-to/your-own-model.md", "docs/how-to/your-own-world.md")
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
BIN = Path(sys.executable).parent
SMALL = {
    "language": ["-n", "200", "--blocks", "1", "--planted", "5"],
    "world": ["-n", "200", "--blocks", "1", "--planted", "5"],
    "words": ["-n", "100", "--top", "10", "--draws", "50"],
}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_of_a_page_runs_top_to_bottom(page: str, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    environment = models_of_a_user(tmp_path) if page in OWN_MODELS else {}
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
@pytest.mark.smollm2
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")])
def test_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    lines = [line[2:] for block in blocks(page, "console") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line)
        # The studies in full take minutes; small ones show that the commands are right.
        small = SMALL[words[2]] if words[1] == "study" else []
        done = subprocess.run(
            [BIN / words[0], *words[1:], *small],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (tmp_path / "analysis" / "index.html").is_file()


def test_the_two_make_targets_of_the_readme_exist() -> None:
    (block,) = [b for b in blocks("README.md", "") if b.startswith("make ")]
    targets = [line.split()[1] for line in block.splitlines()]
    assert targets == ["report", "test"]
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0


def test_links_between_documents_lead_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?://)([^)# ]+)", text):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"
