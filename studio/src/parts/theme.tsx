import { useEffect, useState } from "preact/hooks"
import { Icon, type IconName } from "./icons"

export type Theme = "auto" | "light" | "dark"
export const THEMES: Theme[] = ["auto", "light", "dark"]
const ICON: Record<Theme, IconName> = { auto: "auto", light: "sun", dark: "moon" }
const CHANGED = "sartor-theme"

const now = () => (document.documentElement.dataset.theme as Theme | undefined) ?? "auto"

/** As the system has it, light, or dark; kept in this browser (assets/theme.js reads it before the first paint). */
export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, set] = useState<Theme>(now)
  useEffect(() => {
    const look = () => set(now())
    addEventListener(CHANGED, look)
    return () => removeEventListener(CHANGED, look)
  }, [])
  function choose(next: Theme) {
    if (next === "auto") delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = next
    try {
      localStorage.setItem("sartor-theme", next)
    } catch {
      // Storage is closed to us: the choice holds until the page is left.
    }
    dispatchEvent(new Event(CHANGED))
  }
  return [theme, choose]
}

export function ThemeButton() {
  const [theme, choose] = useTheme()
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!
  return (
    <button
      type="button"
      class="quiet square"
      onClick={() => choose(next)}
      aria-label={`Theme: ${theme}`}
      title={`Theme: ${theme}`}
    >
      <Icon name={ICON[theme]} />
    </button>
  )
}
