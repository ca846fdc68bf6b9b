"""Who downloads: ours, and the peers, each as its own manual recommends for a download that must be right.

A peer is a line for `sh` that fetches, checks with `openssl dgst -sha256` (it uses the SHA extensions) and flushes the
file with `sync`; what is compared is the digest that openssl wrote. Its words come from variables: URL, NAME, FILE,
FOLDER, CA, and LIST, a file with one URL per line. Options that a peer needs to be fair: aria2 cuts pieces of 1 MiB
(`-k1M`, its default 20 MiB leaves connections idle) and does not write the file twice (`--file-allocation=none`); wget
and aria2 do not wait between tries.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.bench.download.goods import Ware
from tests.bench.download.measuring import Cost, Failed, measured

PROVEN = ' && openssl dgst -sha256 -r "$FILE" && sync "$FILE"'
ALL_PROVEN = ' && cd "$FOLDER" && openssl dgst -sha256 -r * && sync *'
PATIENT = "n=0; until {}; do n=$((n + 1)); [ $n -lt 500 ] || exit 1; done"
ARIA = 'aria2c -q --file-allocation=none --auto-file-renaming=false -m0 --retry-wait=0 --ca-certificate="$CA"'
CURL = 'curl -sS --cacert "$CA"'
WGET = 'wget -q -c --tries=0 --waitretry=0 --ca-certificate="$CA"'
HF = """\"$PYTHON_HF\" -c '
import os
from huggingface_hub import hf_hub_download
hf_hub_download("org/model", os.environ["NAME"], local_dir=os.environ["FOLDER"])'"""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    needs: str
    script: str
    how_to_get: str = ""

    @property
    def missing(self) -> str | None:
        """What is missing and how to get it."""
        if self.needs == "huggingface_hub":
            return None if python_with_hf() else "BENCH_HF=/path/to/python, one that has huggingface_hub"
        if shutil.which(self.needs):
            return None
        return self.how_to_get or f"apt-get install {self.needs}"


_PGET = "go install github.com/Code-Hex/pget/cmd/pget@latest, or its releases"
PEERS = {
    peer.name: peer
    for peer in (
        Peer("curl + sha", "curl", f'{CURL} -C - -o "$FILE" "$URL"{PROVEN}'),
        Peer("curl in a loop", "curl", PATIENT.format(f'{CURL} -C - -o "$FILE" "$URL"') + PROVEN),
        Peer("wget + sha", "wget", f'{WGET} -O "$FILE" "$URL"{PROVEN}'),
        Peer("aria2 -x1", "aria2c", f'{ARIA} -x1 -s1 -o "$NAME" -d "$FOLDER" "$URL"{PROVEN}', "apt-get install aria2"),
        Peer("aria2 -x16 -k1M", "aria2c", f'{ARIA} -x16 -s16 -k1M -o "$NAME" -d "$FOLDER" "$URL"{PROVEN}',
             "apt-get install aria2"),
        Peer("axel -n16", "axel", f'axel -q -n16 -o "$FILE" "$URL"{PROVEN}'),
        Peer("pget", "pget", f'pget -p 16 -o "$FILE" "$URL" >&2{PROVEN}', _PGET),
        Peer("hf_hub", "huggingface_hub", f"{HF}{PROVEN}"),
        Peer("wget list", "wget", f'{WGET} -i "$LIST" -P "$FOLDER"{ALL_PROVEN}'),
        Peer("curl -Z", "curl",
             f'cd "$FOLDER" && {CURL} -Z --parallel-max 16 --remote-name-all $(cat "$LIST"){ALL_PROVEN}'),
        Peer("aria2 -j16", "aria2c", f'{ARIA} -j16 -i "$LIST" -d "$FOLDER"{ALL_PROVEN}', "apt-get install aria2"),
        Peer("curl per job", "curl", 'cd "$FOLDER" && while read -r URL; do FILE="${URL##*/}"; '
             f'{CURL} -C - -O "$URL"{PROVEN} || exit 1; done < "$LIST"'),
        Peer("wget per job", "wget", 'cd "$FOLDER" && while read -r URL; do FILE="${URL##*/}"; '
             f'{WGET} "$URL"{PROVEN} || exit 1; done < "$LIST"'),
    )
}  # fmt: skip


def python_with_hf() -> str | None:
    """The interpreter that BENCH_HF names, else our own if it has huggingface_hub."""
    own = sys.executable if find_spec("huggingface_hub") else None
    return os.environ.get("BENCH_HF") or own


def run_peer(
    peer: Peer, base: str, wares: Sequence[Ware], folder: Path, authority: Path, client_side: Sequence[str]
) -> Cost:
    """Raises Failed, also when a digest is not the right one."""
    target = folder / "models"
    target.mkdir()
    listed = folder / "urls"
    listed.write_text("".join(f"{base}/{ware.name}\n" for ware in wares))
    name = wares[0].name
    words = {
        "URL": f"{base}/{name}", "NAME": name, "FILE": str(target / name), "FOLDER": str(target),
        "LIST": str(listed), "CA": str(authority), "PYTHON_HF": python_with_hf() or "", "HF_ENDPOINT": base,
    }  # fmt: skip
    cost, output = measured([*client_side, "sh", "-c", peer.script], surroundings(folder, authority) | words, folder)
    said = sorted(line.split()[0] for line in output.splitlines() if line)
    if said != sorted(ware.sha256 for ware in wares):
        raise Failed("a digest is wrong")
    return cost


def surroundings(home: Path, authority: Path) -> dict[str, str]:
    """An environment without anybody's own settings, proxies or tokens, in which the bench's authority is trusted."""
    trusted = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), str(authority))
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | trusted
