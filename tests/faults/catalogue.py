"""The rows of the matrix: what the host does, which row of FAULTS.md that is, and how it must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from download_worker.errors import Code
from tests.faults.rules import (
    CHANGED,
    RIGHT,
    UNREVEALED,
    Ends,
    Rule,
    another_length,
    by_known,
    by_share,
    ends,
    nothing_reveals_it,
    one_of_two_versions,
    too_slow,
    well,
)
from tests.faults.stage import BYTES, FILE, OTHER, Cell, Hosts
from tests.hub import BEHAVIOURS, RETRY_AFTER, Behaviour, Hub, lanes
from tests.hub.behaviours import (
    HTML,
    bitflip,
    chunked_cut,
    eof_mid,
    etag_changed,
    etag_changed_no_ifrange,
    html_as_octet,
    no_length_cut,
    redirect,
    rst_mid,
    rst_now,
    s401,
    s403,
    s404,
    s429,
    s500,
    s503,
    stall_mid,
    stall_now,
)

Worn = tuple[Behaviour, ...]
Dress = Callable[[Cell, Hosts], Worn]
MIB = 1 << 20


@dataclass(frozen=True)
class Fault:
    """`etag` and `last_modified` are what the host says of its file, also while it is still honest.

    `secure` is a host with TLS, `mirror` an honest second source.
    """

    name: str
    rows: tuple[str, ...]
    rule: Rule
    dress: Dress
    etag: str | None = '"v1"'
    last_modified: str | None = None
    secure: bool = False
    mirror: bool = False

    def host(self, hosts: Hosts) -> Hub:
        return hosts.secure if self.secure else hosts.plain


def _always(*worn: Behaviour) -> Dress:
    return lambda cell, hosts: worn


def _cut_first(*worn: Behaviour) -> Dress:
    """So that also a fresh download has to go on with something."""
    return lambda cell, hosts: (*worn, eof_mid.times(1)) if cell.fresh else worn


def _replaced(changed: Behaviour) -> Dress:
    """The file is replaced as soon as there is something to go on with."""

    def dress(cell: Cell, hosts: Hosts) -> Worn:
        if cell.fresh:
            return (changed(data=OTHER).after_request(1), eof_mid.times(1))
        return (changed(data=OTHER).after_request(0),)

    return dress


def _page(hosts: Hosts, path: str) -> str:
    return hosts.plain.publish(path, HTML, content_type="text/html; charset=utf-8")


def _elsewhere(cell: Cell, hosts: Hosts) -> Worn:
    return (redirect(to=hosts.other.publish(hosts.fresh_path("elsewhere"), FILE, etag='"v1"')),)


def _signed_elsewhere(cell: Cell, hosts: Hosts) -> Worn:
    """A storage host that takes each signature once, and cuts the first answer."""
    expiring = (lanes.s403_expiring(uses=1), eof_mid.times(1))
    url = hosts.other.publish(hosts.fresh_path("signed"), FILE, etag='"v1"', behaviour=expiring)
    return (lanes.signed(to=url),)


def _named(name: str, *rows: str, rule: Rule = well) -> Fault:
    """A behaviour of that name, worn for ever."""
    return Fault(name, rows, rule, _always(BEHAVIOURS[name]))


def _fault(name: str, *rows: str, worn: Worn | Dress, rule: Rule = well, **more: object) -> Fault:
    return Fault(name, rows, rule, worn if callable(worn) else _always(*worn), **more)  # type: ignore[arg-type]


def _endless(cell: Cell) -> Ends:
    """It begins with the right bytes: who took no more than a part of known length has what was asked for."""
    refused = frozenset[str]({Code.TOO_LARGE, Code.SIZE_MISMATCH, Code.LYING_SERVER})
    return refused | {RIGHT} if cell.segmented or not cell.fresh else refused


CONNECTION = (
    _fault("honest", "N9", worn=()),
    _fault("rst_now", "N1", worn=(rst_now.times(2),)),
    _fault("rst_mid", "N5", worn=(rst_mid.times(2),)),
    _fault("eof_mid", "N6", worn=(eof_mid.times(2),)),
    _fault("stall_mid", "N7", worn=(stall_mid.times(1),)),
    _fault("stall_now", "N3", "N7", worn=(stall_now.times(1),)),
    _fault("drip", "N8", worn=(BEHAVIOURS["drip"](bytes_per_second=20.0),), rule=too_slow),
    _fault("drip_head", "N8", "H23", worn=(lanes.drip_head,), rule=too_slow),
    _fault("slow_head", "N10", worn=(lanes.slow_head(seconds=0.1),)),
    _fault("ragged", "N10", worn=(lanes.ragged(delay_seconds_max=0.02),)),
    _fault("cut_per_connection", "N6", worn=(lanes.cut_per_connection(after_bytes=1_000_000),)),
    _fault(
        "tls_truncated",
        "N4",
        "H8",
        worn=(no_length_cut.times(1),),
        secure=True,
        rule=by_share(fresh=by_known(nothing=ends(RIGHT, Code.BROKEN_STRUCTURE))),
    ),
    _fault("tls_rst_mid", "N5", worn=(rst_mid.times(2),), secure=True),
)
RANGES = (
    _named("range_ignored", "H1"),
    _fault(
        "second_range_ignored",
        "H1",
        worn=lambda cell, hosts: (BEHAVIOURS["range_ignored"].after_request(1), eof_mid.times(1)),
    ),
    _fault("range_wrong_start", "H2", worn=_cut_first(BEHAVIOURS["range_wrong_start"])),
    _fault("range_no_content_range", "H3", worn=_cut_first(BEHAVIOURS["range_no_content_range"])),
    _fault("two_content_ranges", "H3", "H11", worn=_cut_first(lanes.two_content_ranges)),
    _fault("range_multipart", "H3", "H24", worn=_cut_first(lanes.range_multipart)),
    _fault("range_total_changed", "H4", worn=_cut_first(BEHAVIOURS["range_total_changed"])),
    _fault("range_unknown_total", "H4", worn=_cut_first(lanes.range_unknown_total)),
    _fault("range_end_ignored", "H2", worn=_cut_first(lanes.range_end_ignored)),
    _fault("range_overlong", "H2", "H29", worn=_cut_first(lanes.range_overlong)),
    _fault("range_short", "H2", worn=_cut_first(lanes.range_short)),
    _fault("range_length_lies", "H2", "H10", worn=_cut_first(lanes.range_length_lies)),
    _fault("always_416", "H7", worn=_cut_first(BEHAVIOURS["always_416"])),
    _fault("always_416_with_total", "H7", worn=_cut_first(BEHAVIOURS["always_416_with_total"])),
    _fault(
        "html_on_range", "H13", worn=_cut_first(lanes.html_on_range), rule=ends(RIGHT, Code.HTML, Code.SIZE_MISMATCH)
    ),
    _fault("shifted_range", "H2", "H28", worn=_cut_first(lanes.shifted_range), rule=nothing_reveals_it),
    _fault("flipped_range", "H28", "N14", worn=_cut_first(lanes.flipped_range), rule=nothing_reveals_it),
)
VERSIONS = (
    _fault("etag_changed", "H5", worn=_replaced(etag_changed), rule=one_of_two_versions),
    _fault("etag_changed_no_ifrange", "H5", worn=_replaced(etag_changed_no_ifrange), rule=one_of_two_versions),
    _fault(
        "new_version_each_time",
        "H5",
        worn=lambda cell, hosts: (lanes.new_version_each_time,),
        rule=by_known(digest=ends(Code.HASH_MISMATCH, Code.LYING_SERVER), size=ends(CHANGED), nothing=ends(CHANGED)),
    ),
    _fault(
        "swapped_silently",
        "H5",
        "H28",
        worn=_replaced(lanes.swapped_silently),
        rule=by_known(
            digest=ends(RIGHT, Code.HASH_MISMATCH),
            size=ends(RIGHT, CHANGED, UNREVEALED),
            nothing=ends(RIGHT, CHANGED, UNREVEALED),
        ),
    ),
    _fault("etag_per_connection", "H5", "H6", worn=_cut_first(lanes.etag_per_connection)),
    _fault("weak_etag", "H6", worn=_cut_first(), etag='W/"v1"'),
    _fault("weak_etag_changes", "H6", worn=_cut_first(lanes.weak_etag_changes), etag='W/"v1"'),
    _fault("no_validator", "H6", worn=_cut_first(), etag=None),
    _fault("dated_only", "H6", worn=_cut_first(), etag=None, last_modified="Thu, 01 Jan 2026 00:00:00 GMT"),
)
LANES = (
    _named("busy_403", "N14", "H14"),
    _named("busy_429", "N14", "H16"),
    _named("busy_503", "N14", "H17"),
    _named("busy_rst", "N14", "N1"),
    _named("busy_whole", "N14", "H1"),
    _named("busy_stall", "N14", "N3"),
    _named("stalled_segment", "N14", "N7"),
    _named("slow_segment", "N14", "N8"),
    _named("closes_silently", "N6", "H29"),
    _named("second_question_unheard", "N7", "H29"),
    _fault("extra_bytes_keepalive", "H29", worn=_cut_first(BEHAVIOURS["extra_bytes_keepalive"])),
    _fault("extra_bytes_late", "H29", worn=_cut_first(lanes.extra_bytes_late)),
    _fault("smuggled_range", "H29", worn=_cut_first(lanes.smuggled_range)),
)
LENGTH = (
    _named("no_length_close", "H8"),
    _fault(
        "no_length_cut",
        "H8",
        worn=(no_length_cut.times(1),),
        rule=by_share(fresh=by_known(nothing=ends(RIGHT, Code.BROKEN_STRUCTURE))),
    ),
    _named("chunked", "H9"),
    _fault("chunked_cut", "H9", worn=(chunked_cut.times(1),)),
    _fault("chunk_garbage", "H9", "H11", worn=(lanes.chunk_garbage.times(1),)),
    _fault("chunk_line_endless", "H9", "H23", worn=(lanes.chunk_line_endless(size=4 * MIB).times(1),)),
    _fault("chunk_trailer_endless", "H9", "H23", worn=(lanes.chunk_trailer_endless(size=4 * MIB).times(1),)),
    _fault(
        "chunked_endless",
        "H26",
        worn=(BEHAVIOURS["chunked_endless"](size=24 * MIB),),
        rule=_endless,
    ),
    _named("length_short", "H10", rule=another_length),
    _fault(
        "length_long",
        "H10",
        worn=(BEHAVIOURS["length_long"],),
        rule=by_known(digest=lambda cell: another_length(cell) | {RIGHT}, size=another_length, nothing=another_length),
    ),
    _named("length_zero", "H10", rule=another_length),
    _named("length_negative", "H11", rule=ends(Code.LYING_SERVER)),
    _named("length_garbage", "H11", rule=ends(Code.LYING_SERVER)),
    _named("two_lengths", "H11", rule=ends(Code.LYING_SERVER)),
    _named("te_and_cl", "H11", rule=ends(Code.LYING_SERVER)),
)
CONTENT = (
    _named("gzip_encoded", "H12", rule=ends(Code.LYING_SERVER)),
    _named("html_200", "H13", rule=ends(Code.HTML)),
    _fault(
        "html_as_octet",
        "H13",
        worn=(html_as_octet(size=2_000_000),),
        rule=by_known(digest=ends(Code.HTML), size=ends(Code.HTML, Code.SIZE_MISMATCH), nothing=ends(Code.HTML)),
    ),
    _named(
        "json_200",
        "H13",
        rule=by_known(
            digest=ends(Code.WRONG_TYPE), size=ends(Code.WRONG_TYPE, Code.SIZE_MISMATCH), nothing=ends(Code.WRONG_TYPE)
        ),
    ),
    _named("dispo_traversal", "H25"),
    _fault(
        "bitflip",
        "H28",
        worn=(bitflip(offset=FILE.size - 7),),
        rule=by_known(digest=ends(Code.HASH_MISMATCH), size=ends(UNREVEALED), nothing=ends(UNREVEALED)),
    ),
)
STATUS = (
    _named("s204", "H24", rule=ends(Code.LYING_SERVER)),
    _named("s206_unasked", "H24", rule=by_share(fresh=ends(RIGHT, Code.LYING_SERVER))),
    _named("s304", "H24", rule=ends(Code.LYING_SERVER)),
    _named("s401", "H14", rule=ends(Code.AUTH)),
    _named("s404", "H15", rule=ends(Code.NOT_FOUND)),
    _fault("s429", "H16", worn=(s429.times(2),)),
    _fault("s429_huge", "H16", worn=(s429(retry_after=RETRY_AFTER["huge"]).times(1),)),
    _fault("s429_date", "H16", worn=(s429(retry_after=RETRY_AFTER["date"]).times(1),)),
    _fault("s429_garbage", "H16", worn=(s429(retry_after=RETRY_AFTER["garbage"]).times(1),)),
    _fault("s429_negative", "H16", worn=(s429(retry_after=RETRY_AFTER["negative"]).times(1),)),
    _fault("s500_burst", "H17", worn=(s500.times(2),)),
    _fault("s503_burst", "H17", worn=(s503.times(2),)),
    _named("s503", "H17", rule=ends(Code.BUSY_HOST)),
    _fault("head_refused", "H27", worn=(s403.on("HEAD"),)),
    _fault("head_lies", "H27", worn=(BEHAVIOURS["length_zero"].on("HEAD"),)),
)
REDIRECTS = (
    _named("redirect_loop", "H18", rule=ends(Code.REDIRECTS)),
    _named("redirect_no_location", "H19", rule=ends(Code.REDIRECTS)),
    _named("redirect_bad", "H19", rule=ends(Code.REDIRECTS)),
    _fault("redirect_other_host", "H20", worn=_elsewhere),
    _fault(
        "redirect_refused",
        "H20",
        rule=ends(Code.REFUSED_ADDRESS),
        worn=lambda cell, hosts: (redirect(to=hosts.foreign.url("/f")),),
    ),
    _fault(
        "redirect_login",
        "H13",
        rule=by_known(digest=ends(Code.HTML), size=ends(Code.HTML), nothing=ends(Code.HTML)),
        worn=lambda cell, hosts: (redirect(to=_page(hosts, hosts.fresh_path("login"))),),
    ),
    _fault(
        "https_to_http",
        "H22",
        secure=True,
        rule=ends(Code.REDIRECTS),
        worn=lambda cell, hosts: (redirect(to=hosts.plain.publish(hosts.fresh_path("plain"), FILE)),),
    ),
    _fault("s403_expiring_elsewhere", "H21", worn=_signed_elsewhere),
    _fault("s403_expiring", "H21", worn=_cut_first(lanes.s403_expiring(uses=2))),
)
HEAD = (
    _named("header_bomb", "H23", rule=ends(Code.LYING_SERVER)),
    _fault(
        "header_endless_line",
        "H23",
        worn=(BEHAVIOURS["header_endless_line"](size=4 * MIB),),
        rule=ends(Code.LYING_SERVER),
    ),
    _fault("continue_endless", "H23", "H24", worn=(lanes.continue_endless(size=MIB).times(1),)),
    _fault("http09", "H24", worn=(BEHAVIOURS["http09"].times(1),)),
    _named("bad_status_line", "H24", rule=ends(Code.LYING_SERVER)),
)
MIRRORED = (
    _fault("bitflip_mirrored", "H28", worn=(bitflip(offset=FILE.size - 7),), mirror=True, rule=nothing_reveals_it),
    _fault("s404_mirrored", "H15", worn=(s404,), mirror=True),
    _fault("length_short_mirrored", "H10", worn=(BEHAVIOURS["length_short"],), mirror=True),
    _fault("s401_mirrored", "H14", worn=(s401,), mirror=True, rule=ends(RIGHT, Code.AUTH)),
    _fault("dead_mirrored", "N1", worn=(eof_mid(after_bytes=len(BYTES) // 10),), mirror=True),
)
FAULTS: tuple[Fault, ...] = (
    *CONNECTION, *RANGES, *VERSIONS, *LANES, *LENGTH, *CONTENT, *STATUS, *REDIRECTS, *HEAD, *MIRRORED
)  # fmt: skip
