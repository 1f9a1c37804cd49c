// What the API sends. A `?` may be absent or null: the server leaves out what it does not know.
type Maybe<T> = T | null | undefined

/** Items keep the kind of id that the model has; people are texts. */
export type ItemId = string | number

export interface Page<T> {
  items: T[]
  next?: Maybe<string>
}

export interface Me {
  tenant: string
  label: string
  scopes: string[]
  person?: Maybe<string>
  dev: boolean
  version: string
}

export interface Pick {
  item: ItemId
  /** null: pinned, and the model does not know it. */
  score: number | null
  title?: Maybe<string>
  attributes?: Maybe<Record<string, unknown>>
}

export interface Answer {
  person?: Maybe<string>
  items: Pick[]
  model?: Maybe<string>
  state?: Maybe<{ version: number; position: number; lag: number; age_seconds: number }>
  fallback?: Maybe<string>
  note: string
  seconds: number
}

export interface Item {
  item: ItemId
  title?: Maybe<string>
  hidden?: boolean
  text?: Maybe<string>
  categories?: Maybe<string[]>
  [attribute: string]: unknown
}

export interface PersonCard {
  person: string
  name?: Maybe<string>
  records: number
  first?: Maybe<string>
  last?: Maybe<string>
  bytes: number
  consents: Record<string, boolean>
}

export interface Consent {
  granted: boolean
  since?: Maybe<string>
  text: string
  version: string
  source: string
  default: boolean
}

export interface StateCard {
  version: number
  verb: string
  model: string
  method: string
  made: string
  age_seconds: number
  position: number
  lag?: Maybe<number>
  bytes: number
  examples: number
  held: boolean
  restored_from?: Maybe<number>
  current: boolean
  arrays: { name: string; dtype: string; shape: number[]; bytes: number }[]
  notes: Record<string, unknown>
}

export interface Profile {
  person: string
  records: number
  frames: Record<string, number>
  first?: Maybe<string>
  last?: Maybe<string>
  kinds: Record<string, number>
  top_items: { item: ItemId; title?: Maybe<string>; count: number }[]
  top_categories: { category: string; count: number }[]
  state?: Maybe<StateCard>
  stale: boolean
  consents: Record<string, Consent>
  models: string[]
  attributes?: Maybe<Record<string, unknown>>
  sentences: string[]
}

export interface Event {
  id: string
  frame: string
  kind?: Maybe<string>
  item?: Maybe<ItemId>
  title?: Maybe<string>
  value?: Maybe<number>
  weight?: Maybe<number>
  content: Record<string, unknown>
  time?: Maybe<string>
  received: string
  source: string
  model?: Maybe<string>
  purposes?: Maybe<string[]>
  expires?: Maybe<string>
  position: number
}

export interface Reason {
  item: ItemId
  title?: Maybe<string>
  contribution: number
  events: number
  rank_without?: Maybe<number>
  ids?: Maybe<string[]>
}

export interface Explanation {
  person: string
  item: ItemId
  title?: Maybe<string>
  score: number
  rank?: Maybe<number>
  model: string
  reasons: Reason[]
  score_population?: Maybe<number>
  rank_population?: Maybe<number>
  without?: Maybe<{ events: number; rank?: Maybe<number>; score: number }>
  verified: boolean
  note: string
}

export interface Move {
  item: ItemId
  title?: Maybe<string>
  before?: Maybe<number>
  after?: Maybe<number>
}

export interface WhatIf {
  person: string
  before: Answer
  after: Answer
  moved: Move[]
}

export interface Erasure {
  person: string
  /** Entries by place, zeros too. */
  removed: Record<string, number>
  verified: boolean
  seconds: number
  finished: string
  bytes?: number
  /** Entries that were still there when it ended: all zero. */
  left?: Record<string, number>
  scan?: Maybe<{
    files: number
    nbytes: number
    seconds: number
    needles: number
    hits: unknown[]
    too_short: string[]
    unreadable: string[]
  }>
  models?: { fingerprint: string; method: string }[]
  tombstone?: string
  note?: string
}

export interface Interval {
  mean: number
  low?: Maybe<number>
  high?: Maybe<number>
}

export interface Spread extends Interval {
  histogram?: Maybe<{ edges: number[]; counts: number[] }>
}

export interface Slice {
  name: string
  people: number
  population?: Maybe<number>
  own?: Maybe<number>
  gain?: Maybe<number>
  low?: Maybe<number>
  high?: Maybe<number>
  swap_gap?: Maybe<number>
  hurt?: Maybe<number>
}

export interface Evaluation {
  model?: Maybe<string>
  metric?: Maybe<string>
  people: number
  gain?: Maybe<Spread>
  swap_gap?: Maybe<Spread>
  hurt?: Maybe<number>
  slices: Slice[]
  note: string
}

export interface ModelCard {
  fingerprint: string
  method: string
  verb: string
  status: "candidate" | "preparing" | "active" | "retired" | "refused"
  made: string
  switched?: Maybe<string>
  people: number
  position: number
  report: Record<string, unknown>
}

export interface Job {
  id: string
  kind: string
  args: Record<string, unknown>
  status: "queued" | "running" | "done" | "failed" | "cancelled"
  progress: number
  message: string
  created: string
  started?: Maybe<string>
  finished?: Maybe<string>
  result?: Maybe<Record<string, unknown>>
  error?: Maybe<string>
  log: string[]
}

/** How far today's evidence has moved from what the model was fitted on. */
export interface DriftReport {
  events: number
  trained_events?: number | null
  /** Population stability index of the items' popularity; null with too few new events. */
  value?: number | null
  threshold: number
  unknown_share?: number | null
  still_popular?: number | null
  list_change?: number | null
  people_compared: number
  model_age_seconds: number
  alarm: boolean
  note: string
}

export interface Status {
  version: string
  started: string
  uptime_seconds: number
  tenant: string
  model?: Maybe<string>
  queue: { people: number; oldest_seconds?: Maybe<number>; failing?: Maybe<number> }
  adapting?: Maybe<{ running: boolean; adapted: number; failed: number; last_error?: Maybe<string> }>
  drift?: Maybe<DriftReport>
  counts: { people: number; records: number; items: number; states: number; bytes: number }
  fallbacks: Record<string, number>
  freshness?: Maybe<{ median_ms: number; p99_ms: number }>
  workers?: Maybe<number>
}

export interface System {
  slug: string
  title: string
  year: number
  room: string
  kind: string
  implemented: boolean
  claim?: Maybe<{
    passed: boolean
    claim?: Maybe<string>
    passes?: Maybe<string>
    conditions?: Maybe<Record<string, unknown>>
    data?: Maybe<string[]>
    seeds?: Maybe<number[]>
    gain?: Maybe<number>
    gain_interval?: Maybe<[number, number]>
    swap_gap?: Maybe<number>
    swap_gap_interval?: Maybe<[number, number]>
    state_bytes?: Maybe<number>
    date?: Maybe<string>
    [more: string]: unknown
  }>
}

export interface Request {
  time: string
  method: string
  route: string
  status: number
  ms: number
  request_id: string
}

export interface Key {
  id: string
  label: string
  scopes: string[]
  person?: Maybe<string>
  created: string
  expires?: Maybe<string>
  revoked?: Maybe<string>
  last_used?: Maybe<string>
}

export interface Preview {
  columns: string[]
  rows: { row: number; cells: unknown[] }[]
  /** Rows in all, where the file itself says so. */
  count?: Maybe<number>
  fields: string[]
  guess: Record<string, string>
}

/** What became of a file. */
export interface ImportResult {
  rows: number
  stored: number
  duplicates: number
  bad: number
  problems: { row: number; column?: Maybe<string>; problem: string }[]
}

export interface Data {
  counts: Status["counts"]
  hidden: number
  first?: Maybe<string>
  last?: Maybe<string>
  kinds: {
    frame: string
    kind?: Maybe<string>
    records: number
    /** null: fewer than five, who are not described further. */
    people?: Maybe<number>
    first?: Maybe<string>
    last?: Maybe<string>
    untimed: number
  }[]
  attributes: { name: string; kind: string; items: number }[]
}

export interface Rule {
  frame: string
  kind: string
  /** Older records are deleted. */
  seconds?: Maybe<number>
  /** After so many seconds a record counts half. */
  half_life?: Maybe<number>
}

export interface Rules extends Page<Rule> {
  would_delete?: Maybe<number>
}

export interface Limits {
  server: Record<string, unknown>
  store: Record<string, unknown>
}

export interface AuditLine {
  time: string
  action: string
  about: boolean
  detail: Record<string, unknown>
}

/** Something of hers that moved a result. */
export interface SearchReason {
  item: ItemId
  title?: Maybe<string>
  /** Of all that moved it, 0 to 1. */
  share: number
  contribution: number
  events: number
}

export interface Found extends Pick {
  rank: number
  /** Where it stands for anybody, from 1. */
  population_rank?: Maybe<number>
  reasons: SearchReason[]
}

export interface SearchAnswer {
  person?: Maybe<string>
  query: string
  items: Found[]
  /** Whether a state of hers was used. */
  personal: boolean
  strength?: Maybe<number>
  plan: string
  model?: Maybe<string>
  state?: Answer["state"]
  fallback?: Maybe<string>
  note: string
  seconds: number
}

export interface Thing {
  /** The word that prompts say, without brackets. */
  item: string
  class_word: string
  photos: number
  learned: boolean
  /** PNG files in base64; none while drawing is not allowed. */
  references: string[]
}

export interface Things {
  items: Thing[]
  allowed: boolean
}

export interface Pictures {
  data: { b64_json: string; seed: number }[]
  size: string
  sartor: {
    personal: boolean
    things: string[]
    model?: Maybe<string>
    state?: Answer["state"]
    fallback?: Maybe<string>
    note: string
    seconds: number
  }
}

export interface Enrolment {
  person: string
  /** Whether they said yes themselves; a default is not enough. */
  agreed: boolean
  model: string
  /** 0: not enrolled. */
  state_version: number
  pictures: number
  nbytes: number
}

interface Likely {
  person: string
  score: number
}

export interface Identified {
  images: { people: Likely[]; threshold: number; note: string; closest?: Maybe<Likely> }[]
}

export interface Verified {
  person: string
  images: { same: boolean; score?: Maybe<number>; threshold: number; fallback?: Maybe<string>; note: string }[]
}

export interface Memory {
  id: string
  text: string
  kind: "fact" | "preference" | "summary" | "message"
  time: string
  polarity: number
  subject?: Maybe<string>
  value?: Maybe<string>
  source: string
  confirmed: boolean
  valid_from?: Maybe<string>
  /** Since when something newer holds. */
  valid_to?: Maybe<string>
  recalled_from: string[]
  made_from: string[]
  version: number
  change: string
}

export interface Remembered {
  added: Memory[]
  known: Memory[]
  replaced: Memory[]
}

export interface Recollection {
  memories: { memory: Memory; score: number; parts: Record<string, number> }[]
  fallback?: Maybe<string>
  seconds: number
}
