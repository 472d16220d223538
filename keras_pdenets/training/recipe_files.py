"""Recipes by the names of presets, and by paths."""

from pathlib import Path

from keras_pdenets.hub.source import CHECKOUT_WEIGHTS
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.utils.checks import check_path, lookup


def as_recipe(recipe):
    """A recipe; that of a preset in this checkout; or that in a file.

    Raises:
        ValueError: If there is no such preset, or the file holds no recipe.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(recipe, Recipe):
        return recipe
    path = check_path("recipe", recipe)
    if path.suffix == ".json":
        return Recipe.from_file(path)
    return Recipe.from_file(recipe_file(str(recipe)))


def recipe_file(preset):
    """The recipe file of a preset in this checkout."""
    recipes = {path.parent.name: path for path in CHECKOUT_WEIGHTS.glob("*/recipe.json")}
    if not recipes:
        raise ValueError(
            f"There are no recipes in {CHECKOUT_WEIGHTS}: run this in a checkout, or give a recipe."
        )
    return Path(lookup("preset", preset, recipes))
