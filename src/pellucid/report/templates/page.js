"use strict";
(() => {
  const root = document.documentElement;
  const titles = JSON.parse(document.getElementById("titles").textContent);
  const speak = (language) => {
    root.dataset.language = language;
    root.lang = language;
    document.title = titles[language];
  };
  // report.html?language=en beats the browser's language, which beats the one the run was made in only where it is Chinese
  const asked = new URLSearchParams(location.search).get("language");
  if (asked === "en" || asked === "zh") speak(asked);
  else if ((navigator.language || "").toLowerCase().startsWith("zh")) speak("zh");
  document.getElementById("language").addEventListener("click", () => speak(root.dataset.language === "en" ? "zh" : "en"));

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", () => {
      const source = document.getElementById(button.dataset.copy).querySelector("pre, p");
      const selection = getSelection();
      selection.removeAllRanges();
      const range = document.createRange();
      range.selectNodeContents(source);
      selection.addRange(range);
      const done = () => {
        button.classList.add("done");
        setTimeout(() => button.classList.remove("done"), 1500);
      };
      // innerText leaves out the language that is not shown; without the clipboard's permission the selection is there to copy by hand
      if (navigator.clipboard) navigator.clipboard.writeText(source.innerText).then(done, () => {});
    });
  }

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
})();
