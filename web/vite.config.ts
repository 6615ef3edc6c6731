import { defineConfig } from "vite";

// Everything is loaded from the node, by addresses relative to the page; nothing is inlined, which the content
// security policy would refuse.
export default defineConfig({
  root: "app",
  base: "./",
  build: {
    outDir: "../dist/app",
    emptyOutDir: true,
    assetsDir: "console/assets",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: false,
  },
});
