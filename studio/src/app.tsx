import { LocationProvider, Route, Router, useLocation } from "preact-iso"
import { useEffect, useRef, useState } from "preact/hooks"
import { key } from "./api/client"
import type { Me } from "./api/types"
import { useApi } from "./api/use-api"
import { pagesOf } from "./pages"
import { DataPage } from "./pages/data"
import { Door } from "./pages/door"
import { DrawPage } from "./pages/draw"
import { Home } from "./pages/home"
import { Jobs } from "./pages/jobs"
import { Keys } from "./pages/keys"
import { Models } from "./pages/models"
import { People } from "./pages/people"
import { Person } from "./pages/person"
import { Population } from "./pages/population"
import { RecognizePage } from "./pages/recognize"
import { Requests } from "./pages/requests"
import { SearchPage } from "./pages/search"
import { Settings } from "./pages/settings"
import { Systems } from "./pages/systems"
import { Icon } from "./parts/icons"
import { Empty, Skeleton } from "./parts/panel"
import { Search } from "./parts/search"
import { ThemeButton } from "./parts/theme"
import { Session } from "./session"

/** The API's own addresses are not pages of ours. */
const SCOPE = /^\/(?!docs|openapi\.json|metrics|healthz|readyz|v1\/)/

export function App() {
  return (
    <LocationProvider scope={SCOPE}>
      <Shell />
    </LocationProvider>
  )
}

function Shell() {
  const me = useApi<Me>("/v1/me")
  const { path } = useLocation()
  const [open, setOpen] = useState(false)
  const main = useRef<HTMLElement>(null)
  const section = path.split("/").slice(0, 3).join("/")
  const first = useRef(true)
  useEffect(() => {
    setOpen(false)
    if (first.current) first.current = false
    else main.current?.focus({ preventScroll: true })
    if (!first.current) window.scrollTo(0, 0)
  }, [section])

  const who = me.data
  const offline = me.error?.offline
  const locked = me.error && [401, 403].includes(me.error.status)
  return (
    <Session.Provider value={who ?? null}>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to the page
      </a>
      <header class="top">
        <button
          type="button"
          class="quiet square menu-button"
          aria-expanded={open}
          aria-controls="nav"
          aria-label="Menu"
          onClick={() => setOpen(!open)}
        >
          <Icon name={open ? "close" : "menu"} />
        </button>
        <a href="/" class="word" aria-label="sartor studio, home">
          sartor
        </a>
        {who && <Search />}
        <span class="top-end">
          {who && <Who me={who} />}
          <ThemeButton />
        </span>
      </header>
      <div class="frame">
        <nav id="nav" class={open ? "nav open" : "nav"} aria-label="Pages">
          <ul>
            {pagesOf(who ?? null).map((page) => (
              <li key={page.href}>
                <a
                  href={page.href}
                  aria-current={current(page.href, path) ? (path === page.href ? "page" : "true") : undefined}
                >
                  <Icon name={page.icon} />
                  {page.name}
                </a>
              </li>
            ))}
          </ul>
          <p class="nav-foot small muted">
            <a href="/docs">API reference</a>
            {who && <span>sartor {who.version}</span>}
          </p>
        </nav>
        <main id="main" ref={main} tabIndex={-1}>
          <Offline />
          {who ? (
            <Pages />
          ) : locked ? (
            <Door problem={me.error!} onOpen={me.reload} />
          ) : offline ? (
            <Unreachable />
          ) : me.error ? (
            <Door problem={me.error} onOpen={me.reload} />
          ) : (
            <Skeleton lines={6} />
          )}
        </main>
      </div>
      <p id="said" class="sr-only" role="status" aria-live="polite" />
    </Session.Provider>
  )
}

const current = (href: string, path: string) =>
  href === "/" ? path === "/" : path === href || path.startsWith(`${href}/`)

function Pages() {
  return (
    <Router>
      <Route path="/" component={Home} />
      <Route path="/people" component={People} />
      <Route path="/people/:person/:tab?" component={Person} />
      <Route path="/population" component={Population} />
      <Route path="/models" component={Models} />
      <Route path="/search" component={SearchPage} />
      <Route path="/draw" component={DrawPage} />
      <Route path="/recognize" component={RecognizePage} />
      <Route path="/data" component={DataPage} />
      <Route path="/jobs/:job?" component={Jobs} />
      <Route path="/models/jobs/:job" component={Jobs} />
      <Route path="/settings" component={Settings} />
      <Route path="/systems" component={Systems} />
      <Route path="/requests" component={Requests} />
      <Route path="/keys" component={Keys} />
      <Route default component={Nowhere} />
    </Router>
  )
}

function Nowhere() {
  return (
    <Empty title="There is no such page.">
      <a href="/">Home</a>
    </Empty>
  )
}

/** Which key this tab uses, and a way to put it down. */
function Who({ me }: { me: Me }) {
  if (me.dev && !key.get()) return <span class="who muted small">dev · no key</span>
  return (
    <span class="who small">
      <span class="muted">
        {me.tenant} · {me.label}
      </span>
      <button
        type="button"
        class="small"
        onClick={() => {
          key.drop()
          location.assign("/")
        }}
      >
        Leave
      </button>
    </span>
  )
}

function Unreachable() {
  return (
    <Empty title="The server does not answer.">
      Look whether <code>sartor serve</code> is running. This page tries again by itself.
    </Empty>
  )
}

/** What the browser knows of the network; requests that fail say so in their own place. */
function Offline() {
  const [online, set] = useState(navigator.onLine)
  useEffect(() => {
    const look = () => set(navigator.onLine)
    addEventListener("online", look)
    addEventListener("offline", look)
    return () => {
      removeEventListener("online", look)
      removeEventListener("offline", look)
    }
  }, [])
  if (online) return null
  return (
    <div class="notice warn" role="status">
      <Icon name="alert" />
      <div>This machine is offline. What you see is from before.</div>
    </div>
  )
}
