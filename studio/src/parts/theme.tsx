import { useState } from "preact/hooks"
import { Icon, type IconName } from "./icons"

type Theme = "auto" | "light" | "dark"
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" }
const ICON: Record<Theme, IconName> = { auto: "auto", light: "sun", dark: "moon" }

/** As the system has it, light, or dark; kept in this browser (assets/theme.js reads it before the first paint). */
export function ThemeButton() {
  const [theme, set] = useState<Theme>(() => (document.documentElement.dataset.theme as Theme | undefined) ?? "auto")
  function turn() {
    const next = NEXT[theme]
    set(next)
    if (next === "auto") delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = next
    try {
      localStorage.setItem("sartor-theme", next)
    } catch {
      // Storage is closed to us: the choice holds until the page is left.
    }
  }
  return (
    <button type="button" class="quiet square" onClick={turn} aria-label={`Theme: ${theme}`} title={`Theme: ${theme}`}>
      <Icon name={ICON[theme]} />
    </button>
  )
}
