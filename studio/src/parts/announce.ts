/** Say something to people who do not see the page change. */
export function announce(text: string) {
  const place = document.getElementById("said")
  if (!place) return
  place.textContent = ""
  requestAnimationFrame(() => (place.textContent = text))
}
