import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Todo } from "../document/content";
import type { Session } from "../document/session";
import { personColour } from "../presence/palette";
import type { Person } from "../presence/roster";
import { CloseIcon, PlusIcon } from "./icons";
import { SharedLine } from "./SharedLine";

type Props = { session: Session; todos: readonly Todo[]; isReadOnly: boolean; isPast: boolean };

export function TodoList({ session, todos, isReadOnly, isPast }: Props) {
  const people = session.presence.people.value;
  const list = useRef<HTMLUListElement>(null);
  const done = todos.filter((todo) => todo.done).length;

  const remove = (id: string, index: number): void => {
    session.edits.removeTodo(id);
    // The focus goes on to what takes the place of the removed one, instead of being lost with it.
    const next = list.current?.children[index + 1] ?? list.current?.children[index - 1];
    next?.querySelector<HTMLElement>("input[type=checkbox]")?.focus();
  };

  return (
    <section class="todos" aria-labelledby="todos-heading">
      <h2 id="todos-heading">
        To do
        {todos.length > 0 && (
          <span class="todos-count">
            {done} of {todos.length} done
          </span>
        )}
      </h2>
      <ul ref={list}>
        {todos.map((todo, index) => (
          <TodoRow
            key={todo.id}
            todo={todo}
            session={session}
            isReadOnly={isReadOnly}
            guest={people.find(({ place }) => place.at === "todo" && place.id === todo.id)}
            onRemove={() => remove(todo.id, index)}
          />
        ))}
      </ul>
      {todos.length === 0 && isReadOnly && <p class="todos-empty">{isPast ? "There was nothing to do yet." : "Nothing to do yet."}</p>}
      {!isReadOnly && <NewTodo onAdd={(title) => session.edits.addTodo(title)} />}
    </section>
  );
}

type RowProps = {
  todo: Todo;
  session: Session;
  isReadOnly: boolean;
  /** Somebody else who is at this to-do. */
  guest: Person | undefined;
  onRemove: () => void;
};

function TodoRow({ todo: { id, title, done }, session: { edits, presence }, isReadOnly, guest, onRemove }: RowProps) {
  const name = title === "" ? "untitled to-do" : title;
  return (
    <li
      class={done ? "todo is-done" : "todo"}
      data-guest={guest?.author.name}
      style={guest === undefined ? undefined : { "--person": personColour(guest.author.colour) }}
    >
      <input
        type="checkbox"
        aria-label={`Done: ${name}`}
        checked={done}
        disabled={isReadOnly}
        onChange={(event) => edits.setTodoDone(id, event.currentTarget.checked)}
      />
      <SharedLine
        class="todo-title"
        label={`Edit: ${name}`}
        value={title}
        isReadOnly={isReadOnly}
        onEdit={(next) => edits.setTodoTitle(id, next)}
        onFocus={() => !isReadOnly && presence.moveTo({ at: "todo", id })}
        onBlur={() => !isReadOnly && presence.moveTo({ at: "page" })}
      />
      {!isReadOnly && (
        <button type="button" class="todo-remove" aria-label={`Remove: ${name}`} title="Remove" onClick={onRemove}>
          <CloseIcon />
        </button>
      )}
    </li>
  );
}

function NewTodo({ onAdd }: { onAdd: (title: string) => void }) {
  const title = useSignal("");
  const add = (event: Event): void => {
    event.preventDefault();
    if (title.value.trim() === "") return;
    onAdd(title.value.trim());
    title.value = "";
  };
  return (
    <form class="todo-new" onSubmit={add}>
      <PlusIcon />
      <input
        type="text"
        aria-label="New to-do"
        placeholder="Add a to-do"
        autocomplete="off"
        value={title.value}
        onInput={(event) => {
          title.value = event.currentTarget.value;
        }}
      />
      <button type="submit" class="button" hidden={title.value.trim() === ""}>
        Add
      </button>
    </form>
  );
}
