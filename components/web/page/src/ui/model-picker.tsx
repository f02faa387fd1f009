// Which model answers. A native list: it works by keyboard, by touch and with a screen reader.
import type { JSX } from "preact";
import { model, models } from "../state";
import { chosenModel } from "../store/settings";
import { Icon } from "./icons";

export function ModelPicker(): JSX.Element {
  const known = models.value;
  if (known.length < 2) return <span class="model-name">{known[0] ?? "Skerry"}</span>;
  return (
    <label class="model-picker">
      <span class="unseen">Model</span>
      <select value={model.value} onChange={(event) => (chosenModel.value = event.currentTarget.value)}>
        {known.map((name) => <option key={name} value={name}>{name}</option>)}
      </select>
      <Icon name="chevron" />
    </label>
  );
}
