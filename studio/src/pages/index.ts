import type { IconName } from "../parts/icons"

/** The pages of the navigation, in its order. */
export const PAGES: { href: string; name: string; icon: IconName }[] = [
  { href: "/", name: "Home", icon: "home" },
  { href: "/people", name: "People", icon: "people" },
  { href: "/population", name: "Population", icon: "population" },
  { href: "/models", name: "Models", icon: "models" },
  { href: "/systems", name: "Systems", icon: "systems" },
  { href: "/requests", name: "Requests", icon: "requests" },
  { href: "/keys", name: "Keys & access", icon: "keys" },
]
