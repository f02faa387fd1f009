// What a user does, from the first visit on. Runs against a real Skerry or the stand-in.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { desktop, openBrowser, openPage, phone, refusedRequest } from "./harness.mjs";
import { KEY, startMock } from "./mock.mjs";

let browser;
let mock;
let url = process.env.SKERRY_URL;
let key = process.env.SKERRY_API_KEY;

before(async () => {
  assert.equal(Boolean(url), Boolean(key), "SKERRY_URL and SKERRY_API_KEY go together");
  if (!url) {
    mock = await startMock();
    url = mock.url;
    key = KEY;
  }
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await mock?.close();
});

describe("a first visit", () => {
  it("asks for the key, says what is wrong with a wrong one, and takes the right one", async () => {
    const user = await openPage(browser, url);
    await user.dialog.waitFor();
    assert.equal(await user.page.evaluate(() => document.activeElement.id), "key");
    await user.picture("key-dialog");
    await user.checkAccessible();

    await user.enterKey("two words");
    await user.dialog.getByText("A key is one word").waitFor();
    await user.enterKey("sk-wrong-wrong-wrong");
    await user.page.waitForFunction(() => document.getElementById("key-problem").textContent !== "");
    assert.equal(await user.page.evaluate(() => localStorage.getItem("skerry.key")), null);

    await user.signIn(key);
    assert.equal(await user.page.evaluate(() => localStorage.getItem("skerry.key")), key);
    await user.picture("welcome");
    await user.checkAccessible();
    await user.leave({ allow: refusedRequest });
  });
});

describe("a conversation", () => {
  it("is answered, is kept over a reload, and can be left and opened again", async () => {
    const user = await openPage(browser, url);
    await user.signIn(key);
    await user.composer.fill("What is Skerry?");
    await user.composer.press("Enter");
    const answer = await user.answered();
    assert.ok(answer.length > 3, answer);
    assert.equal(await user.answer.getAttribute("data-ending"), "complete");
    await user.checkAccessible();

    await user.page.reload();
    await user.answer.waitFor();
    assert.equal(await user.answer.innerText(), answer);
    assert.equal(await user.dialog.count(), 0, "the key is remembered");

    await user.page.getByRole("button", { name: "New chat" }).first().click();
    await user.page.getByRole("heading", { name: "What can I help with?" }).waitFor();
    await user.page.getByRole("link", { name: "What is Skerry?" }).click();
    await user.answer.waitFor();
    assert.equal(await user.answer.innerText(), answer);
    await user.page.goBack();
    await user.page.getByRole("heading", { name: "What can I help with?" }).waitFor();
    await user.leave();
  });

  it("shows the tool that was used and what came of it", async () => {
    const user = await openPage(browser, url);
    await user.signIn(key);
    const answer = await user.ask("What is 12 * 7?");
    assert.match(answer, /84/);
    const call = user.page.locator(".call");
    assert.match(await call.locator("summary").innerText(), /Used calculator/);
    await call.locator("summary").click();
    await call.getByText("Asked").waitFor();
    assert.match(await call.innerText(), /expression[^]*84/);
    await user.checkAccessible();
    await user.picture("tool-call");
    await user.leave();
  });

  it("is written with Enter, broken into lines with Shift+Enter, and the field grows", async () => {
    const user = await openPage(browser, url);
    await user.signIn(key);
    const small = (await user.composer.boundingBox()).height;
    await user.composer.pressSequentially("one");
    for (const line of ["two", "three", "four"]) {
      await user.composer.press("Shift+Enter");
      await user.composer.pressSequentially(line);
    }
    await user.page.waitForFunction((small) => document.getElementById("composer").offsetHeight > small * 2, small);
    assert.equal(await user.page.locator(".said").count(), 0);
    await user.composer.press("Enter");
    assert.equal(await user.page.locator(".said-text").innerText(), "one\ntwo\nthree\nfour");
    await user.page.waitForFunction(() => document.getElementById("composer").value === "");
    await user.page.waitForFunction((small) => document.getElementById("composer").offsetHeight < small + 1, small);
    await user.answered();
    await user.leave();
  });
});

describe("on a phone", () => {
  it("fits, and the list of chats is a drawer", async () => {
    const user = await openPage(browser, url, phone);
    await user.signIn(key);
    await user.ask("Hello");
    await user.picture("phone-chat");
    const overflow = () => user.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok((await overflow()) <= 0, "nothing is wider than the screen");

    await user.page.getByRole("button", { name: "Open the list of chats" }).click();
    await user.page.getByRole("link", { name: "Hello" }).waitFor();
    await user.settled();
    await user.picture("phone-drawer");
    await user.checkAccessible();
    await user.page.keyboard.press("Escape");
    await user.page.getByRole("link", { name: "Hello" }).waitFor({ state: "hidden" });
    await user.leave();
  });
});

describe("by keyboard and in the dark", () => {
  it("follows the system's colours until the user chooses", async () => {
    const user = await openPage(browser, url, { ...desktop, colorScheme: "dark" });
    await user.signIn(key);
    const ground = () => user.page.evaluate(() => getComputedStyle(document.querySelector("main")).backgroundColor);
    const dark = await ground();
    await user.ask("What is a skerry?");
    await user.picture("dark");
    await user.checkAccessible();

    await user.page.getByRole("button", { name: "Settings" }).click();
    await user.picture("settings-dark");
    await user.checkAccessible();
    await user.dialog.getByText("Light").click();
    assert.notEqual(await ground(), dark);
    await user.page.keyboard.press("Escape");
    await user.dialog.waitFor({ state: "detached" });
    assert.equal(await user.page.evaluate(() => document.activeElement.innerText), "Settings", "the focus is given back");
    await user.page.reload();
    assert.notEqual(await ground(), dark, "the choice is remembered");
    await user.leave();
  });

  it("needs no mouse", async () => {
    const user = await openPage(browser, url);
    await user.dialog.waitFor();
    await user.page.keyboard.type(key);
    await user.page.keyboard.press("Enter");
    await user.dialog.waitFor({ state: "detached" });
    // The caret, and not only the focus: without one, typing does nothing.
    await user.page.waitForFunction(() => document.activeElement.id === "composer");
    await user.page.keyboard.type("Hello");
    await user.page.keyboard.press("Enter");
    await user.answered();
    await user.page.keyboard.press("Control+Shift+O");
    await user.page.getByRole("heading", { name: "What can I help with?" }).waitFor();
    await user.page.keyboard.type("again");
    assert.equal(await user.composer.inputValue(), "again");
    await user.leave();
  });

  it("forgets the key when told to", async () => {
    const user = await openPage(browser, url);
    await user.signIn(key);
    await user.page.getByRole("button", { name: "Settings" }).click();
    await user.dialog.getByRole("button", { name: "Forget key" }).click();
    await user.dialog.getByLabel("API key", { exact: true }).waitFor();
    assert.equal(await user.page.evaluate(() => localStorage.getItem("skerry.key")), null);
    await user.leave();
  });
});
