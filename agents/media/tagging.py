"""Tags in MP4 files with FFmpeg's libraries (PyAV).

Only `agents.media.process` may run this: the libraries are C code, and the files are untrusted.
Packets are copied unchanged; nothing is decoded or encoded.
"""

from collections.abc import Mapping

from av.container import InputContainer

from agents.media.bounded_target import BoundedTarget, Source
from agents.media.copying import (
    MediaStream,
    MismatchError,
    NoMuxerError,
    add_stream,
    has_format,
    open_output,
    open_source,
    run_copy,
)
from agents.media.facts import RemuxAnswer, TagPlan
from agents.media.reading import video_streams


def tag(plan: TagPlan, source: Source, target: Source) -> RemuxAnswer:
    """Write the picture and sound of an MP4 file with tags to an empty file."""

    def work(bounded: BoundedTarget) -> str:
        with open_source(source) as container:
            return _tag(container, plan.tags, bounded)

    return run_copy(work, (source,), target)


def _tag(container: InputContainer, tags: Mapping[str, str], target: BoundedTarget) -> str:
    if not has_format(container, ("mov",)):
        raise NoMuxerError(f"only MP4 files get tags, this is {container.format.name}")
    streams: list[MediaStream] = [*video_streams(container), *container.streams.audio]
    if any(stream.codec_context is None for stream in streams):
        raise NoMuxerError("no decoder for one of its streams")
    with open_output(target, "mp4") as output:
        output.metadata.update(tags)
        copies = {stream.index: add_stream(output, stream) for stream in streams}
        for packet in container.demux(streams):
            if packet.dts is None and packet.size == 0:
                continue  # the flush packet at the end
            if packet.is_corrupt:
                raise MismatchError("it is truncated")
            packet.stream = copies[packet.stream_index]
            output.mux(packet)
    return "mp4"
