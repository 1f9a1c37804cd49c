/** What each purpose allows, in a person's own terms. */
export const PURPOSES: Record<string, string> = {
  recommend: "Make lists that fit this person.",
  search: "Order search results for this person.",
  write: "Let texts fit this person.",
  draw: "Let pictures fit this person.",
  recognize: "Recognise this person or their things.",
  decide: "Let decisions take this person into account.",
  train: "Learn what everybody shares from this person's events, too.",
  share: "Use what was learned for one purpose in another.",
}
