"""One tracker, several mirrors: what a trial tells goes to each of them, and none of them can cost the trial."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sweeper.store import Store
from sweeper.tracking.metrics import TrialMetrics
from sweeper.tracking.wandb_mirror import WandbRun

if TYPE_CHECKING:
    from sweeper.trial import TrialRecord

Tracking = Literal["wandb", "none"]


class Mirror(Protocol):
    """One place where a trial's numbers go."""

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step."""

    def finish(self, row: dict[str, Any], record: TrialRecord) -> None:
        """The trial's end."""

    def close(self) -> None:
        """Nothing more will come, however the trial ended."""


class TrialTrack:
    """Where one trial's numbers go; without mirrors, nowhere."""

    def __init__(self, mirrors: Sequence[Mirror] = ()) -> None:
        self._mirrors = list(mirrors)

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step."""
        self._each(lambda mirror: mirror.log(progress))

    def finish(self, row: dict[str, Any], record: TrialRecord) -> None:
        """The trial's end: status, final metrics, asked and applied."""
        self._each(lambda mirror: mirror.finish(row, record))

    def _each(self, tell: Callable[[Mirror], None]) -> None:
        """A mirror that fails is named on stderr, and told nothing more: it must not cost a training run."""
        for mirror in list(self._mirrors):
            try:
                tell(mirror)
            except Exception as error:
                print(f"{type(mirror).__name__}: told nothing more: {error}", file=sys.stderr)
                self._mirrors.remove(mirror)


@dataclass(frozen=True)
class Tracker:
    """Opens a trial's mirrors: Prometheus where there is Ray, W&B where it is asked for. Picklable, for workers."""

    kind: Tracking
    study: str
    store: Store
    evaluates: bool = False
    """Whether what is tracked is an evaluation alone, by one worker of whatever many trained."""

    def evaluation(self) -> Tracker:
        """The same for one worker that evaluates what several have trained."""
        return replace(self, evaluates=True)

    @contextlib.contextmanager
    def trial(self, planned: Any) -> Iterator[TrialTrack]:
        """Mirrors of one trial. One that cannot start is named on stderr, and never fails the trial."""
        mirrors: list[Mirror] = []
        with contextlib.ExitStack() as opened:
            for name, start in self._mirrors(planned):
                try:
                    mirrors.append(start())
                except Exception as error:  # a mirror must not cost a training run
                    print(f"{name}: trial {planned.fingerprint} is not tracked: {error}", file=sys.stderr)
                else:
                    opened.enter_context(_closing(mirrors[-1]))
            yield TrialTrack(mirrors)

    def _mirrors(self, planned: Any) -> list[tuple[str, Callable[[], Mirror]]]:
        gpus = planned.spec.runtime.gpus * (1 if self.evaluates else planned.spec.runtime.workers)
        found: list[tuple[str, Callable[[], Mirror]]] = [
            ("Prometheus", lambda: TrialMetrics(self.study, planned, gpus))
        ]
        if self.kind == "wandb":
            found.append(("W&B", lambda: WandbRun(self.study, self.store, planned)))
        return found


@contextlib.contextmanager
def _closing(mirror: Mirror) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            mirror.close()
        except Exception as error:
            print(f"{type(mirror).__name__}: {error}", file=sys.stderr)
