// Applies the theme before the first paint, so it is no module: modules run after it.
try {
  const theme = localStorage.getItem("clipmill.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is disabled: the theme of the system.
}
