import type { Me } from "../api/types"
import type { IconName } from "../parts/icons"

interface Place {
  href: string
  name: string
  icon: IconName
  /** What a key must be allowed to do to see anything there. */
  scope?: string
}

/** The pages of the navigation, in its order. */
const ALL: Place[] = [
  { href: "/", name: "Home", icon: "home" },
  { href: "/people", name: "People", icon: "people", scope: "profile" },
  { href: "/search", name: "Search", icon: "search", scope: "read" },
  { href: "/draw", name: "Draw", icon: "draw", scope: "read" },
  { href: "/recognize", name: "Recognize", icon: "recognize", scope: "read" },
  { href: "/data", name: "Data", icon: "data", scope: "read" },
  { href: "/population", name: "Population", icon: "population", scope: "models" },
  { href: "/models", name: "Models", icon: "models", scope: "models" },
  { href: "/jobs", name: "Jobs", icon: "jobs", scope: "models" },
  { href: "/systems", name: "Systems", icon: "systems", scope: "read" },
  { href: "/requests", name: "Requests", icon: "requests", scope: "admin" },
  { href: "/keys", name: "Keys & access", icon: "keys", scope: "admin" },
  { href: "/settings", name: "Settings", icon: "settings" },
]

/** The pages that a key can see anything on. A key that is bound to a person sees that person. */
export function pagesOf(me: Me | null): Place[] {
  if (!me) return ALL
  if (me.person)
    return [ALL[0]!, { href: `/people/${encodeURIComponent(me.person)}`, name: me.person, icon: "people" }, ALL.at(-1)!]
  return ALL.filter((page) => !page.scope || me.scopes.includes(page.scope))
}
