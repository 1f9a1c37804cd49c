// Loaded before the first paint, so that a chosen theme does not flash.
try {
  const theme = localStorage.getItem("sartor-theme")
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme
} catch {
  // Storage is closed to us: the system's preference stands.
}
