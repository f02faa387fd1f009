// A view that renders again only if one of its properties is another object.
import { Component, h, type ComponentChild, type FunctionComponent } from "preact";

export function memo<P extends object>(View: FunctionComponent<P>): FunctionComponent<P> {
  class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const names = Object.keys(next) as (keyof P)[];
      return names.some((name) => next[name] !== this.props[name]);
    }
    override render(): ComponentChild {
      return h(View, this.props);
    }
  }
  return Memo as unknown as FunctionComponent<P>;
}
