import type { ComponentChildren } from "preact"

const PATHS = {
  home: "M3 11.5 12 4l9 7.500M5.500 10v10h13V10M10 20v-5.500h4V20",
  people:
    "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7ZM2.500 20c.5-4 3-6 6.500-6s6 2 6.500 6M16 4.300a3.500 3.500 0 0 1 0 6.400M18 14.500c2 .8 3.200 2.600 3.500 5.500",
  population: "M4 20V10m5.300 10V4m5.400 16v-7M20 20V8",
  models: "m12 3 8.500 4.500L12 12 3.500 7.500 12 3ZM3.500 12l8.500 4.500 8.500-4.500M3.500 16.500 12 21l8.500-4.500",
  systems: "M4 4.500h16v5H4zM4 14.500h16v5H4zM7.500 7h.01M7.500 17h.01",
  requests: "M4 7h13m0 0-3.500-3.500M17 7l-3.500 3.500M20 17H7m0 0 3.500-3.500M7 17l3.500 3.500",
  keys: "M8 15.500a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm4-4h9m-3 0v3.500",
  data: "M12 9.500c4.400 0 8-1.200 8-2.800S16.400 4 12 4 4 5.200 4 6.700s3.600 2.800 8 2.800Zm-8-2.800v10.600C4 18.800 7.600 20 12 20s8-1.200 8-2.700V6.700M4 12c0 1.600 3.600 2.800 8 2.800s8-1.200 8-2.800",
  jobs: "M12 20.500a8.500 8.500 0 1 0 0-17 8.500 8.500 0 0 0 0 17Zm0-13V12l3.500 2.500",
  settings:
    "M4 7h9m4 0h3M4 17h3m4 0h9M15 9.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5ZM9 19.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5Z",
  download: "M12 4v11m0 0-4-4m4 4 4-4M5 19.500h14",
  upload: "M12 15V4m0 0L8 8m4-4 4 4M5 19.500h14",
  eye: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12Zm9.500 3a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z",
  hidden:
    "M4 4l16 16M9.500 6c.8-.3 1.600-.5 2.500-.5 6 0 9.500 6.500 9.500 6.500s-1 1.900-2.900 3.600M6 8C3.700 9.800 2.500 12 2.500 12S6 18.500 12 18.500c1.500 0 2.900-.4 4-1",
  search: "M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13Zm4.700-1.800L20 20",
  draw: "M4 20l1-4.500L16 4.500l3.500 3.500L8.500 19 4 20Zm9.500-13 3.500 3.500M13 20h7",
  recognize:
    "M4 8.500V4h4.500m7 0H20v4.500m0 7V20h-4.500m-7 0H4v-4.500M9.200 10v.01M14.800 10v.01M8.800 14.500c1.800 1.800 4.600 1.800 6.400 0",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "m6 6 12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "m5 12.500 4.500 4.500L19 7.500",
  cross: "m6.500 6.500 11 11m0-11-11 11",
  dash: "M6 12h12",
  alert: "M12 4 2.800 20h18.400L12 4Zm0 6v4.500m0 2.800v.01",
  sun: "M12 16.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9ZM12 2.500v2m0 15v2m9.500-9.500h-2m-15 0h-2m16.200-6.700-1.400 1.400M6.700 17.300l-1.400 1.400m13.400 0-1.400-1.400M6.700 6.700 5.300 5.300",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500Z",
  auto: "M12 20.500a8.500 8.500 0 1 0 0-17 8.500 8.500 0 0 0 0 17Zm0-17v17m3-15.500v14m3-11.500v9",
  chevron: "m9 5.500 6.500 6.500L9 18.500",
  plus: "M12 5v14M5 12h14",
  trash: "M4.500 7h15M9.500 7V4.500h5V7M6.500 7l1 13h9l1-13M10.500 11v5.500m3-5.500v5.500",
} as const

export type IconName = keyof typeof PATHS

/** A decoration beside words; it is hidden from assistive technology. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}

type Tone = "good" | "bad" | "warn" | "own" | "plain"
const MARKS: Record<Tone, IconName | null> = { good: "check", bad: "cross", warn: "alert", own: null, plain: null }

/** A state in one word: a mark and a word, so that colour alone never says it. */
export function Badge({ tone = "plain", children }: { tone?: Tone; children: ComponentChildren }) {
  const mark = MARKS[tone]
  return (
    <span class={`badge ${tone}`}>
      {mark && <Icon name={mark} />}
      {children}
    </span>
  )
}
