"""What the package itself shows of its contents."""

import subprocess
import sys

import concept_ppl


def test_the_public_functions_are_listed_before_they_are_imported():
    code = "import concept_ppl, sys; print(*dir(concept_ppl)); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = set(done.stdout.split())
    assert set(concept_ppl.__all__) <= listed
    assert "__version__" in listed
