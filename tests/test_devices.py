import subprocess
import sys
from pathlib import Path


def test_everything_of_a_network_lies_on_its_device_and_nothing_waits_for_it() -> None:
    # In a process of its own, as a device's name can be given only once.
    program = [sys.executable, "-m", "tests.on_fake_device"]
    done = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
