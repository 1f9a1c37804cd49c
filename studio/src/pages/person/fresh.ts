import { call, path } from "../../api/client"
import type { Profile } from "../../api/types"

const PATIENCE_MS = 15_000
const ASK_EVERY_MS = 80

/** Wait until the newest evidence is in the person's state. Resolves to the profile, or to null when it takes too long. */
export async function untilFresh(person: string): Promise<Profile | null> {
  const start = performance.now()
  while (performance.now() - start < PATIENCE_MS) {
    const profile = await call<Profile>("GET", path`/v1/people/${person}`)
    if (!profile.stale && (profile.state?.lag ?? 0) === 0) return profile
    await new Promise((done) => setTimeout(done, ASK_EVERY_MS))
  }
  return null
}
