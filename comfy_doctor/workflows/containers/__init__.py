"""Files that carry a workflow: JSON, images, videos, sounds, models and drawings, told apart by content alone.

Each module reads one family, only its metadata, by seeking and within the bounds of `source`; pixels, frames and
samples are never read. What comes out is the same for all: the texts that may be a workflow, and what was damaged.
"""

from comfy_doctor.workflows.containers.opening import Contents, open_container, open_stream, sniff
from comfy_doctor.workflows.containers.source import MAX_WORKFLOW_BYTES, Unreadable

__all__ = ["MAX_WORKFLOW_BYTES", "Contents", "Unreadable", "open_container", "open_stream", "sniff"]
