"""The configs and products a project has, and what the wildcards of the key files stand for among them."""

from __future__ import annotations

from dataclasses import dataclass

from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.tables import is_known


@dataclass(frozen=True, slots=True)
class Names:
    """What the derived and imaging keys may refer to."""

    interf_configs: tuple[str, ...]
    feather_configs: tuple[str, ...]
    line_products: tuple[str, ...]
    cont_products: tuple[str, ...]

    @property
    def configs(self) -> tuple[str, ...]:
        """All configs, interferometric ones first."""
        return self.interf_configs + self.feather_configs

    @property
    def products(self) -> tuple[str, ...]:
        """All products, lines first."""
        return self.line_products + self.cont_products

    def products_of(self, word: str, place: Place, findings: Findings, *, all_of_them: bool) -> tuple[str, ...]:
        """Return the products that a word of a product column stands for; `all` only where `all_of_them`."""
        wildcards = {"all_line": self.line_products, "all_cont": self.cont_products}
        if all_of_them:
            wildcards["all"] = self.products
        if word.lower() in wildcards:
            return wildcards[word.lower()]
        return (word,) if is_known(word, (*self.products, *wildcards), place, "product", findings) else ()

    def configs_of(self, word: str, known: tuple[str, ...], place: Place, findings: Findings) -> tuple[str, ...]:
        """Return the configs, of those `known`, that a word of a config column stands for."""
        if word.lower() == "all":
            return known
        return (word,) if is_known(word, (*known, "all"), place, "config", findings) else ()
