"""A small inventory with an unfinished last line, which `make demo` completes."""

from dataclasses import dataclass, field


@dataclass
class Item:
    name: str
    price: float
    quantity: int = 0


@dataclass
class Inventory:
    items: dict[str, Item] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        if item.name in self.items:
            self.items[item.name].quantity += item.quantity
        else:
            self.items[item.name] = item

    def total(self) -> float:
        return sum(item.price * item.quantity for item in self.items.values())

    def remove(self, name: str) -> None:
        if name in self.items:
            del self.it
