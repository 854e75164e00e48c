import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="9" />
    <path d="M7 12.5c3-3 6-3 9 0s6 3 9 0" />
    <path d="M7 19.5c3-3 6-3 9 0s6 3 9 0" opacity=".6" />
  </svg>
);

export const CheckIcon = () => <Icon><path d="m4.5 10.5 3.6 3.6 7.4-8" /></Icon>;
export const CloudOffIcon = () => <Icon><path d="M3 3l14 14M7 6.2A4.6 4.6 0 0 1 14.4 8.6 3.2 3.2 0 0 1 16.6 13.6M12.5 14.5H6A3.3 3.3 0 0 1 5.4 8" /></Icon>;
export const LinkIcon = () => <Icon><path d="M8.5 11.5a3 3 0 0 0 4.3 0l2.7-2.7a3 3 0 0 0-4.3-4.3l-1 1M11.5 8.5a3 3 0 0 0-4.3 0l-2.7 2.7a3 3 0 0 0 4.3 4.3l1-1" /></Icon>;
export const HistoryIcon = () => <Icon><path d="M3.5 10a6.5 6.5 0 1 0 2-4.7L3.5 7.2M3.5 3.5v3.7h3.7M10 6.5V10l2.6 1.6" /></Icon>;
export const PlusIcon = () => <Icon><path d="M10 4.5v11M4.5 10h11" /></Icon>;
export const CloseIcon = () => <Icon><path d="m5.5 5.5 9 9M14.5 5.5l-9 9" /></Icon>;
export const PlayIcon = () => <Icon><path class="filled" d="M7 5.2v9.6L15 10z" /></Icon>;
export const PauseIcon = () => <Icon><path d="M7.2 5v10M12.8 5v10" /></Icon>;
export const BackIcon = () => <Icon><path d="m12 5-5 5 5 5" /></Icon>;
export const ForwardIcon = () => <Icon><path d="m8 5 5 5-5 5" /></Icon>;
export const ShareIcon = () => <Icon><path d="M10 12.5v-9M6.8 6.2 10 3l3.2 3.2M6.5 9H5v7.5h10V9h-1.5" /></Icon>;
export const PersonIcon = () => <Icon><path d="M10 10.2a3.1 3.1 0 1 0 0-6.2 3.1 3.1 0 0 0 0 6.2ZM4.2 16.5c.5-2.6 2.8-4 5.8-4s5.3 1.4 5.8 4" /></Icon>;
export const EyeIcon = () => <Icon><path d="M2.5 10S5.2 4.8 10 4.8 17.5 10 17.5 10 14.8 15.2 10 15.2 2.5 10 2.5 10ZM10 12.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4Z" /></Icon>;
export const LockIcon = () => <Icon><path d="M5 9h10v7.5H5zM7 9V6.5a3 3 0 0 1 6 0V9" /></Icon>;
