"""The recipes, one for each network; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from facerestore.training.recipes.base import Recipe


class RecipeEntry(NamedTuple):
    """What is known of a recipe without importing it.

    Attributes:
        location: its class, "module:Class".
        title: one line for people.
        backend: the backend or parser that loads its weights; empty for weights that are always given as a file.
        purpose: what such weights are for, in the words of the weights catalog.
    """

    location: str
    title: str
    backend: str = ""
    purpose: str = ""


_ROOM = "facerestore.training.recipes"

RECIPES: Mapping[str, RecipeEntry] = {
    "lite": RecipeEntry(
        f"{_ROOM}.lite.recipe:LiteRecipe", "the small restorer that comes with facerestore", "lite", "restore"
    ),
    "gpen": RecipeEntry(
        f"{_ROOM}.gpen.recipe:GPENRecipe",
        "GPEN: a GAN prior in a U-shaped network (arXiv 2105.06070)",
        "gpen",
        "restore",
    ),
    "psfr": RecipeEntry(
        f"{_ROOM}.psfr.recipe:PSFRRecipe",
        "PSFR-GAN: progressive, by parsing map (arXiv 2009.08709)",
        "psfr",
        "restore",
    ),
    "mmrb": RecipeEntry(
        f"{_ROOM}.mmrb.recipe:MMRBRecipe",
        "a codec over a StyleGAN2 prior, after arXiv 2205.14377",
        "mmrb",
        "restore",
    ),
    "stylegan2": RecipeEntry(
        f"{_ROOM}.stylegan2:StyleGAN2Recipe", "a StyleGAN2 face prior (arXiv 1912.04958)"
    ),
    "parse": RecipeEntry(
        f"{_ROOM}.parse:ParseRecipe",
        "a small parser of degraded faces",
        "parse",
        "parse",
    ),
    "parsenet": RecipeEntry(
        f"{_ROOM}.parsenet:ParseNetRecipe",
        "the parser of degraded faces, ParseNet (arXiv 2009.08709)",
        "parsenet",
        "parse",
    ),
    "landmarks": RecipeEntry(
        f"{_ROOM}.landmarks.recipe:LandmarksRecipe", "the five-point network of the embedded detector"
    ),
    "finder": RecipeEntry(
        f"{_ROOM}.finder.recipe:FinderRecipe", "the face detector of the embedded detector"
    ),
}
"""Name of each recipe, where its class is, and what it trains."""


def recipe_class(name: str) -> type[Recipe]:
    """Return the class of a recipe, imported now.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe '{name}'; choose one of {', '.join(RECIPES)}")
    module_name, _, class_name = RECIPES[name].location.partition(":")
    found: type[Recipe] = getattr(import_module(module_name), class_name)
    return found
