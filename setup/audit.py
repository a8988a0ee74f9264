"""Asks PyPI for known vulnerabilities of what the locks pin: ``make audit``.

Ends with 1 if one is known. What the index does not answer for is named and fails nothing: a mirror without
that service is no news about a package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCKS = ("requirements.lock", "images/requirements.lock")


def audit(lock: str) -> bool:
    """Audit one lock; whether it is free of known vulnerabilities."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format=json", "-r", lock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"audit: {lock}: the service was not reached: {last}", file=sys.stderr)
        return True
    packages = json.loads(done.stdout)["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"audit: {lock}: {package['name']} {package['version']}: {found['id']}, mended in {mended}")
    answered = len(packages) - len(skipped)
    print(f"audit: {lock}: {answered} of {len(packages)} packages looked up, {len(vulnerable)} vulnerable")
    if skipped:
        which = ", ".join(skipped) if answered else "any: this index has no such service"
        print(f"audit: {lock}: not answered for: {which}", file=sys.stderr)
    return not vulnerable


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    clean = [audit(str(root / lock)) for lock in LOCKS]
    sys.exit(not all(clean))
