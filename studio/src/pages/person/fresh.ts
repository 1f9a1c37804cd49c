import { call, path } from "../../api/client"
import type { Profile } from "../../api/types"

const PATIENCE_MS = 15_000
const FIRST_PAUSE_MS = 40
const LAST_PAUSE_MS = 1000

/** Wait until the newest evidence is in the person's state. Resolves to the profile, or to null when it takes too long. */
export async function untilFresh(person: string): Promise<Profile | null> {
  const start = performance.now()
  let pause = FIRST_PAUSE_MS
  while (performance.now() - start < PATIENCE_MS) {
    const profile = await call<Profile>("GET", path`/v1/people/${person}`)
    if (!profile.stale && (profile.state?.lag ?? 0) === 0) return profile
    await new Promise((done) => setTimeout(done, pause))
    pause = Math.min(pause * 1.5, LAST_PAUSE_MS)
  }
  return null
}
