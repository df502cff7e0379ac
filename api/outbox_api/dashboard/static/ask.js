// What cannot be taken back is asked about first. Without JavaScript it is done without a question.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.submitter && event.submitter.dataset.ask;
  if (question && !window.confirm(question)) event.preventDefault();
});
