# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does a second look at the data help?
#
# This notebook asks a question, plans it, runs it on this machine and reads the answer. The models are toys of 170,000
# parameters, trained from scratch on a generated world of tools: the answer shows how the method works, and says
# nothing about OPT or any other pretrained model. It takes about a minute on two CPU cores, and needs no GPU and no
# account.

# %%
from pathlib import Path
from tempfile import mkdtemp

import sweeper

storage = Path(mkdtemp())

# %% [markdown]
# ## Ask
#
# A sweep is a mapping with the keys of a sweep file. `load_sweep` also takes the name of a sweep (`"quickstart"`) or
# the path of a file. The claim is registered before anything runs.

# %%
sweep = sweeper.load_sweep(
    {
        "name": "second-epoch",
        "question": "Is one epoch enough?",
        "recipe": "miniature",
        "data": {
            "extends": "toolworld",
            "toolworld": {"train_queries": 600, "validation_queries": 20, "test_queries_per_subset": 10},
        },
        "evaluation": "toolworld",
        "axes": {"model": ["opt-tiny-64"], "num_train_epochs": [1, 4], "seed": [0, 1, 2]},
        "claims": [{"extends": "single-epoch", "assumed_seed_sd": 0.2}],
        "accept_underpowered": True,
    }
)

# %% [markdown]
# ## Plan
#
# Nothing starts yet. The plan lists the trials, what they will cost, and what each claim can detect with this design.

# %%
plan = sweeper.plan(sweep, storage)
plan.trials[["fingerprint", "model", "num_train_epochs", "seed", "parameters"]]

# %%
plan.cost.get_limited_figures(), plan.problems

# %%
plan.claims[["id", "seeds", "queries", "margin", "detectable_effect", "seeds_needed", "reason"]].T

# %% [markdown]
# With three toy runs an arm, only a large effect can be told from the spread of the seeds: `detectable_effect` is the
# smallest difference of pass rates that this design finds in four of five studies. It exceeds the claim's margin, so
# `run` would refuse the sweep without `accept_underpowered`.
#
# ## Run
#
# `backend="inline"` trains one trial after another in this process; `"ray"` uses every core or a cluster. Running the
# cell again reuses what is finished.

# %%
study = sweeper.run(sweep, storage, backend="inline", tracking="none")
study

# %% [markdown]
# ## Read the answer

# %%
verdict = study.verdict("single-epoch")
print(verdict.label, verdict.estimate, verdict.interval)
print(verdict.sentence)
print(verdict.reason)

# %%
study.trials[["num_train_epochs", "seed", "status", "val_loss", "pass_rate", "train_seconds"]]

# %% [markdown]
# ## Plot it your own way
#
# `study.outcomes` has one row per trial, test query, judge and vote, with the axes of the trial beside it. Seeds differ
# more than queries do: draw each seed, not only the mean.

# %%
import matplotlib.pyplot as plt

rates = study.outcomes.groupby(["num_train_epochs", "seed"])["passed"].mean().unstack("seed")
axes = rates.mean(axis="columns").plot.bar(color="lightgray", rot=0)
for seed in rates.columns:
    axes.plot(range(len(rates)), rates[seed], "o", label=f"seed {seed}")
axes.set(xlabel="epochs", ylabel="pass rate", ylim=(0, 1))
axes.legend()
plt.show()

# %% [markdown]
# Learning curves come from `study.history`, one row per logged step.

# %%
study.history.groupby("num_train_epochs")["loss"].agg(["first", "last", "count"])

# %% [markdown]
# The whole report, as one page that needs no server:

# %%
study.report(storage / "report.html").path.name
