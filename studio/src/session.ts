import { createContext } from "preact"
import { useContext } from "preact/hooks"
import type { Me } from "./api/types"

/** Who this tab is to the server. */
export const Session = createContext<Me | null>(null)

/** Whether the key of this tab may do it; the server decides again on every request. */
export const useScope = (scope: string) => useContext(Session)?.scopes.includes(scope) ?? false
