"""The middleware that serves static files, which looks for them once instead of in every test."""

from servestatic.middleware import ServeStaticMiddleware


class StaticFiles(ServeStaticMiddleware):
    _found = None

    def add_files_from_finders(self):
        if StaticFiles._found is None:
            super().add_files_from_finders()
            StaticFiles._found = self.files, self.directories
        self.files, self.directories = StaticFiles._found
