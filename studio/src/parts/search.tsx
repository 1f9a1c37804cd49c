import { options } from "preact"
import { useLocation } from "preact-iso"
import { useContext, useEffect, useState } from "preact/hooks"
import { path } from "../api/client"
import type { Me } from "../api/types"
import { pagesOf } from "../pages"
import { Session } from "../session"
import { Combobox, type Option } from "./combobox"
import { Dialog } from "./dialog"
import { Icon } from "./icons"
import { findPeople } from "./person-field"

const SLASH = "sartor-slash"
const slashWanted = () => localStorage.getItem(SLASH) !== "off"

interface Place extends Option {
  href: string
}

async function places(me: Me | null, text: string, signal: AbortSignal): Promise<Place[]> {
  const wanted = text.trim().toLowerCase()
  const pages = pagesOf(me)
    .filter((page) => page.name.toLowerCase().includes(wanted))
    .map((page) => ({
      id: page.href,
      href: page.href,
      label: page.name,
      hint: "page",
    }))
  if (!wanted || me?.person || !me?.scopes.includes("profile")) return pages
  const people = (await findPeople(text, signal)).map((one) => ({ ...one, href: path`/people/${one.person}` }))
  return [...people, ...pages]
}

/** Draws a change at once instead of a moment later, so that the next key finds it there. */
function atOnce(change: () => void) {
  const usual = options.debounceRendering
  options.debounceRendering = (draw) => draw()
  change()
  options.debounceRendering = usual
}

/** Find a person or a page from anywhere: Ctrl or Cmd and K, or the slash. */
export function Search() {
  const { route } = useLocation()
  const me = useContext(Session)
  const [open, setOpen] = useState(false)
  const [slash, setSlash] = useState(slashWanted)
  useEffect(() => {
    function onKey(event: KeyboardEvent) {
      const typing = (event.target as HTMLElement).matches?.("input, textarea, select, [contenteditable]")
      const wanted =
        (event.key === "k" && (event.metaKey || event.ctrlKey)) ||
        (event.key === "/" && slash && !typing && !event.metaKey && !event.ctrlKey)
      if (!wanted || document.querySelector("dialog[open]")) return
      event.preventDefault()
      atOnce(() => setOpen(true))
    }
    addEventListener("keydown", onKey)
    return () => removeEventListener("keydown", onKey)
  }, [slash])
  function go(href: string) {
    setOpen(false)
    route(href)
  }
  return (
    <>
      <button type="button" class="search-button" aria-keyshortcuts="Control+K Meta+K" onClick={() => setOpen(true)}>
        <Icon name="search" />
        <span>Find a person</span>
        <kbd>{/mac|iphone|ipad/i.test(navigator.platform) ? "⌘ K" : "Ctrl K"}</kbd>
      </button>
      {open && (
        <Dialog title="Find a person" class="palette" onClose={() => setOpen(false)}>
          <Combobox
            label="Person or page"
            placeholder="An id, a name or a page"
            inline
            autofocus
            search={(text, signal) => places(me, text, signal)}
            onPick={(place) => go(place.href)}
            onEnter={(text) => go(path`/people/${text}`)}
            none="Nobody found. Enter opens the id as typed."
          />
          <label class="check small muted">
            <input
              type="checkbox"
              checked={slash}
              onChange={(event) => {
                setSlash(event.currentTarget.checked)
                localStorage.setItem(SLASH, event.currentTarget.checked ? "on" : "off")
              }}
            />
            The slash key opens this too
          </label>
        </Dialog>
      )}
    </>
  )
}
