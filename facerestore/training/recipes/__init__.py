"""The recipes, one for each network; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isabstract, isclass
from typing import TYPE_CHECKING, NamedTuple

from facerestore.extensions import OWN_PACKAGE, Extension, Extensions

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
    "inpaint": RecipeEntry(
        f"{_ROOM}.lite.inpaint:InpaintRecipe", "the small restorer, for holes in faces", "lite", "inpaint"
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
    "damage": RecipeEntry(
        f"{_ROOM}.damage:DamageRecipe", "a small network that finds damage in faces", "damage", "damage"
    ),
    "eyes": RecipeEntry(
        f"{_ROOM}.eyes:EyesRecipe", "a tiny network that tells closed eyes in faces", "eyes", "eyes"
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
        ExtensionError: it is another package's, and broken.
    """
    if name not in RECIPES:
        return EXTENSIONS.load(name)
    return EXTENSIONS.import_one(Extension("recipe", name, RECIPES[name].location, OWN_PACKAGE))


def recipe_entry(name: str) -> RecipeEntry:
    """Return what is known of a recipe; one of another package is imported now, and says it itself.

    Raises:
        FaceRestoreError: as `recipe_class`.
    """
    if name in RECIPES:
        return RECIPES[name]
    found = recipe_class(name)
    return RecipeEntry("", found.title or name, found.backend, found.purpose)


def register_recipe(name: str, recipe: type[Recipe]) -> None:
    """Let ``make_plan("NAME", ...)`` mean a recipe of yours, in this process.

    Args:
        name: that of the class, and not that of another recipe.
        recipe: derived from `facerestore.training.recipes.base.Recipe`.

    Raises:
        ConfigError: the name is taken.
        ExtensionError: the class is no recipe.
    """
    EXTENSIONS.register(name, recipe)


def _lack(name: str, found: object) -> str | None:
    """Return what a class must have and has not to be a recipe; None where nothing is amiss."""
    from facerestore.training.recipes.base import Recipe

    if not (isclass(found) and issubclass(found, Recipe)):
        return f"{found!r} is no class derived from facerestore.training.recipes.base.Recipe"
    if isabstract(found):
        return f"class {found.__name__} lacks {', '.join(sorted(found.__abstractmethods__))}"
    missing = [each for each in ("name", "settings_class") if not hasattr(found, each)]
    if missing:
        return f"class {found.__name__} lacks {', '.join(missing)}"
    return None if found.name == name else f"class {found.__name__} calls itself '{found.name}', not '{name}'"


EXTENSIONS: Extensions[type[Recipe]] = Extensions(
    kind="recipe",
    own=RECIPES,
    lack=_lack,
    # Commands of 'facerestore train', and what else the settings of a run have beside those of the recipe.
    reserved=("export", "plot", "recipe", "engine", "data", "validation", "faces"),
)
"""Recipes of other packages."""
