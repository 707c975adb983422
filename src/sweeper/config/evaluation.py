"""How a trained model is evaluated as an agent, one file of `configs/evaluation/`."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, model_validator

from sweeper.config.base import MAX_BATCH, MAX_COUNT, MAX_NUMBER, Choice, FrozenConfig
from sweeper.errors import has_secret
from sweeper.registry import Registry

JudgeName = Annotated[str, Choice(Registry("judge", "evaluation/judges", "make_judge"))]
EnvironmentName = Annotated[str, Choice(Registry("environment", "evaluation/environments", "make_environment"))]


def _check_url(url: str | None) -> str | None:
    """Refuse a URL with more than scheme, host and path: what is in the rest may be a secret, and URLs are stored."""
    parts = urlsplit(url or "")
    if "@" in parts.netloc or parts.query or parts.fragment or has_secret(url or ""):
        raise ValueError("a URL with a user name, password, query or fragment: give keys in the environment")
    return url


class LlmSpec(FrozenConfig):
    """A language model as judge, behind any OpenAI-compatible endpoint. Its key is read from the environment only."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a URL may hold a secret

    url: Annotated[str, AfterValidator(_check_url)] = Field(min_length=1)
    """Base URL, such as `http://127.0.0.1:8000/v1`."""
    model: str = Field(min_length=1)
    """Name of the model at that endpoint."""
    votes: int = Field(default=4, gt=0, le=MAX_BATCH)
    """Judgements of each answer; their majority decides. ToolEval takes at least 4."""
    temperature: FiniteFloat = Field(default=0.2, ge=0, le=MAX_NUMBER)
    """Sampling temperature of the judge; ToolEval's is 0.2."""
    concurrency: int = Field(default=16, gt=0, le=MAX_BATCH)
    """Requests in flight at once. Does not change a result."""
    requests_per_minute: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Maximum rate of requests; `null` sets no limit."""
    timeout_seconds: FiniteFloat = Field(default=60, gt=0, le=MAX_NUMBER)
    """Timeout of one attempt. A request is tried 6 times, with growing waits."""
    input_price: FiniteFloat | None = Field(default=None, ge=0, le=MAX_NUMBER)
    """Price of a million input tokens, in any currency; `null`: costs are not counted."""
    output_price: FiniteFloat | None = Field(default=None, ge=0, le=MAX_NUMBER)
    """Price of a million output tokens."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How JSON is requested from the endpoint; `none` for servers that support neither of the others."""


class EvaluationSpec(FrozenConfig):
    """How a trained model is evaluated as an agent. It has an identity of its own and is not part of a trial's."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = Field(min_length=1)
    """Name shown in reports."""
    queries: str | None = None
    """Folder of ToolBench's or StableToolBench's test queries (`test_instruction/`, `test_query_ids/`); `null`: the
    queries of the synthetic tool environment."""
    split: Literal["test", "validation"] = "test"
    """Split of the synthetic environment's queries: searches use `validation`, reports use `test`."""
    gold: str | None = None
    """Gold answers of the test queries, whose likelihood under a trained model is measured as `gold_nll`, in nats per
    target token: `toolworld` for the synthetic queries' own, or a path of answers in a format of training data. `null`
    measures none."""
    environment: EnvironmentName
    """Where calls are executed: in the synthetic tool environment, from recorded responses, or by StableToolBench's
    server."""
    recorded: str | None = None
    """For `replay`: a folder of ToolBench answers, or of StableToolBench's response cache."""
    on_miss: Literal["error", "same-api"] = "error"
    """For `replay`, the observation of a call that was not recorded: an error, or the first recorded response of that
    API."""
    url: Annotated[str | None, AfterValidator(_check_url)] = None
    """For `http`: address of a server that implements StableToolBench's `/virtual` protocol."""
    judge: JudgeName
    """What decides whether a query was solved: toolworld's oracle, fixed rules, or a language model."""
    also_judges: list[JudgeName] = Field(default_factory=list)
    """Further judges of the same answers. They decide no claim except `judge-independent`; the report shows every
    claim's verdict under each of them."""
    llm: LlmSpec | None = None
    """Settings of the judge `llm`."""
    temperature: FiniteFloat = Field(default=0.1, ge=0, le=MAX_NUMBER)
    """Sampling temperature of the agent; 0 is greedy. The paper uses 0.1."""
    max_steps: int = Field(default=10, gt=0, le=MAX_COUNT)
    """Maximum calls per query, `Finish` included. The paper allows 10."""
    max_new_tokens: int = Field(default=512, gt=0, le=MAX_COUNT)
    """Maximum tokens generated per step."""
    max_episode_tokens: int | None = Field(default=None, gt=0, le=MAX_COUNT)
    """Maximum tokens generated per query, over all steps; `null` sets no limit."""
    batch_size: int = Field(gt=0, le=MAX_BATCH)
    """Episodes stepped together. Greedy results do not depend on it."""

    @model_validator(mode="after")
    def _check_requirements(self) -> EvaluationSpec:
        if len(set(self.judges)) < len(self.judges):
            raise ValueError(f"`also_judges` repeats a judge: {', '.join(self.judges)}")
        for value, key in (("replay", "recorded"), ("http", "url")):
            if self.environment == value and getattr(self, key) is None:
                raise ValueError(f"`environment: {value}` needs `{key}`")
        if "human" in self.judges:
            raise ValueError("people label answers outside of a sweep: `sweeper judge ANSWERS --labels CSV`")
        if "llm" in self.judges and self.llm is None:
            raise ValueError("`judge: llm` needs `llm`")
        if ("oracle" in self.judges or self.environment == "toolworld") and self.queries is not None:
            raise ValueError("toolworld's environment and oracle support only its own queries: leave out `queries`")
        if self.gold is not None and self.split == "validation":
            raise ValueError("`gold` is about test queries: `split: test`")
        if self.gold == "toolworld" and self.queries is not None:
            raise ValueError("`gold: toolworld` has answers to toolworld's own queries only: leave out `queries`")
        if self.split == "validation" and self.environment != "toolworld":
            raise ValueError("only the synthetic tool environment has validation queries: `split: test`")
        if "oracle" in self.judges and self.environment != "toolworld":
            raise ValueError("the oracle judges only toolworld's episodes: `judge: rules` or `judge: llm`")
        return self

    @property
    def judges(self) -> list[str]:
        """All judges; the first is `judge`."""
        return [self.judge, *self.also_judges]
