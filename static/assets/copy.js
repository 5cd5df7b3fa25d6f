// Makes the copy buttons work and shows them; without JavaScript they stay
// hidden and the text is selected by hand.
//
//   <button hidden data-copy="id of the text" data-done="Copied">

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      label.textContent = button.dataset.done;
    } catch {
      getSelection().selectAllChildren(source);
      return;
    }
    setTimeout(() => {
      label.textContent = before;
    }, 2000);
  });
}
