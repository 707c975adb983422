"""The document -> Plotly figures. No number is computed here."""

from __future__ import annotations

import plotly.graph_objects as go

from sweeper.config.axes import format_arm_name
from sweeper.report.document import LossBandEntry, Report, TrialEntry, get_axis, list_claims
from sweeper.report.figure_parts import Band, add_band, make_layout, pick_color
from sweeper.report.figures_arms import (
    list_heatmap_models,
    plot_epochs,
    plot_lr_clip_heatmap,
    plot_prediction,
    plot_size,
    plot_size_fits,
    plot_subset_radar,
)
from sweeper.report.figures_claims import plot_claim_intervals
from sweeper.report.figures_search import plot_importances, plot_parallel_coordinates, plot_search_progress
from sweeper.report.scaling_section import METRICS, SIZE_MEASURES


def build_figures(document: Report) -> dict[str, go.Figure]:
    """Build every figure that the document has data for.

    Returns:
        Figures by name: `size` (`size_val_loss` of a study without evaluation), `epochs_METRIC`, `fit_METRIC_SIZE`,
        `prediction-N`, `map-N`, `claim-N`, `subsets`, `exploration`, `importances`, `parallel`, `learning`.
    """
    name, metric = ("size", "pass_rate") if document["study"]["evaluated"] else ("size_val_loss", "val_loss")
    figures = {
        name: plot_size(document, metric),
        "epochs_pass_rate": plot_epochs(document, "pass_rate"),
        "epochs_val_loss": plot_epochs(document, "val_loss"),
        "subsets": plot_subset_radar(document),
        "learning": plot_learning_curves(document),
    }
    figures |= {f"fit_{m}_{size}": plot_size_fits(document, m, size) for m in METRICS for size in SIZE_MEASURES}
    predictions = enumerate(document["predictions"])
    figures |= {f"prediction-{k}": plot_prediction(document, entry) for k, entry in predictions}
    if document["map"]:
        models = enumerate(list_heatmap_models(document))
        figures |= {f"map-{k}": plot_lr_clip_heatmap(document["map"], model) for k, model in models}
    figures |= {f"claim-{k}": plot_claim_intervals(claim) for k, claim in enumerate(list_claims(document))}
    if document["exploration"]:
        figures["exploration"] = plot_search_progress(document["exploration"])
    if document["search"]:
        figures["importances"] = plot_importances(document["search"])
        figures["parallel"] = plot_parallel_coordinates(document["search"])
    return {name: figure for name, figure in figures.items() if figure.data}


def plot_learning_curves(document: Report) -> go.Figure:
    """Plot training loss (lines) and validation loss (marks) of every trial against steps, a color per model; the
    models' bands where the document has those."""
    figure = go.Figure()
    models = dict.fromkeys(arm["model"] for arm in document["arms"])
    colors = {model: pick_color(i) for i, model in enumerate(models)}
    for band in document["learning"]:
        _add_loss_band(figure, band, colors[band["model"]])
    in_legend: set[str] = set()
    for trial in document["trials"] if not document["learning"] else ():
        if document["histories"].get(trial["fingerprint"]):
            _add_trial_curve(figure, document, trial, colors[trial["model"]], in_legend)
    figure.update_layout(make_layout("loss, nats per token (log scale)"))
    figure.update_xaxes(title="optimizer steps", rangemode="tozero")
    ticks = [digit * 10.0**power for power in range(-5, 3) for digit in (1, 2, 5)]
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure


def _add_loss_band(figure: go.Figure, band: LossBandEntry, color: str) -> None:
    add_band(figure, Band(band["step"], band["low"], band["high"]), color, band["model"])
    figure.add_scatter(
        x=band["step"],
        y=band["median"],
        mode="lines",
        name=band["model"],
        legendgroup=band["model"],
        line={"color": color, "width": 2},
        hovertemplate=f"{band['model']}<br>step %{{x}}: median %{{y:.3f}}<extra></extra>",
    )


def _add_trial_curve(figure: go.Figure, document: Report, trial: TrialEntry, color: str, in_legend: set[str]) -> None:
    """Add a trial's curve; the first of each model is the one in the legend."""
    model, curve = trial["model"], document["histories"][trial["fingerprint"]]
    axes = [axis for axis in document["study"]["varied"] if axis != "model"]
    arm = [format_arm_name(axis, get_axis(trial, axis)) for axis in axes]
    name = " · ".join([model, *arm, f"seed {trial['seed']}"])
    figure.add_scatter(
        x=curve["step"],
        y=curve["loss"],
        mode="lines",
        line={"color": color, "width": 1},
        opacity=0.7,
        showlegend=model not in in_legend,
        hovertemplate=f"{name}<br>step %{{x}}: %{{y:.3f}}<extra>training</extra>",
        name=model,
        legendgroup=model,
    )
    figure.add_scatter(
        x=curve["val_step"],
        y=curve["val_loss"],
        mode="markers",
        marker={"color": color, "size": 7, "symbol": "diamond"},
        showlegend=False,
        hovertemplate=f"{name}<br>step %{{x}}: %{{y:.3f}}<extra>validation</extra>",
        name=model,
        legendgroup=model,
    )
    in_legend.add(model)
